-- one row per key that several rows of the endpoint have
SELECT
    any_value(usage_date) AS usage_date, any_value(metric) AS metric, any_value(role) AS role,
    any_value(dimensions) AS dimensions, period_start, period_end, observed_at,
    count(*) AS rows, min(value) AS lowest, max(value) AS highest
FROM lake.usage
WHERE vendor = $vendor AND account = $account AND endpoint = $endpoint
GROUP BY series_id, period_start, period_end, observed_at
HAVING count(*) > 1
ORDER BY usage_date DESC, metric, series_id, period_start, period_end, observed_at;
