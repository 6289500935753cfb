-- How many Puppet nodes were in use at most in each month, and on how many days were there more than the licence holds?
SELECT
    strftime(daily.usage_date, '%Y-%m') AS month, max(daily.value) AS highest_day, max(licence.quantity) AS licence,
    count(burst.usage_date) AS burst_days, coalesce(bool_and(burst.within_terms), true) AS within_terms
FROM usage_daily AS daily
LEFT JOIN puppet_burst_days AS burst USING (account, usage_date)
LEFT JOIN entitlements AS licence USING (account, metric)
WHERE daily.vendor = 'puppet' AND metric = 'nodes'
GROUP BY ALL
ORDER BY 1;
