-- How many LaunchDarkly connection minutes did each project use, month by month?
SELECT month, dimensions['project'] AS project, sum(value) AS minutes
FROM usage
WHERE vendor = 'launchdarkly' AND metric = 'service_connections'
  AND role = 'consumed' AND temporality = 'delta' AND breakdown = 'project'
GROUP BY month, project
ORDER BY month, minutes DESC;
