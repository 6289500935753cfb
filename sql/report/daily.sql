-- one row per account, metric, way of counting and UTC day of the last 62, today's part included
SELECT account_daily.*, metrics.description, metrics.documentation
FROM account_daily
LEFT JOIN metrics USING (vendor, endpoint, metric, unit, aggregation, temporality)
WHERE coalesce(metrics.role, 'consumed') = 'consumed' AND usage_date > CAST($today AS DATE) - 62
ORDER BY vendor, account, metric, unit, aggregation, temporality, usage_date;
