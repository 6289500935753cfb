-- How many LaunchDarkly connection minutes did each project use, month by month?
SELECT strftime(period_start, '%Y-%m') AS month, project, value AS minutes, is_final
FROM usage_monthly
WHERE metric = 'service_connections' AND breakdown = 'project' AND calendar = 'calendar'
ORDER BY month, minutes DESC;
