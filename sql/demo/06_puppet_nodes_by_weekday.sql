-- How many Puppet nodes are in use on each weekday? (Today is not over and left out.)
SELECT
    dayname(usage_date) AS weekday,
    count(*) AS days,
    min(value) AS fewest,
    CAST(avg(value) AS DECIMAL(18, 1)) AS average,
    max(value) AS most
FROM usage
WHERE vendor = 'puppet' AND metric = 'nodes' AND period_end <= fetched_at
GROUP BY weekday, isodow(usage_date)
ORDER BY isodow(usage_date);
