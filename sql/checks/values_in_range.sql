-- one row per row of the endpoint that cannot be, and why
SELECT usage_date, fault, metric, role, dimensions, value, period_start, period_end, fetched_at, response_id
FROM (
    SELECT
        *,
        CASE
            WHEN value < 0 THEN 'the value is negative'
            WHEN period_end < period_start THEN 'the period ends before it starts'
            WHEN temporality = 'instant' AND period_end <> period_start THEN 'an instant with a length'
            WHEN usage_date <> CASE
                WHEN temporality = 'instant' THEN utc_day(observed_at)
                ELSE utc_day(period_end - INTERVAL 1 MICROSECOND)
            END THEN 'usage_date is not the day of the last instant of the period'
            WHEN month <> strftime(usage_date, '%Y-%m') THEN 'month is not that of usage_date'
            WHEN role = 'consumed' AND usage_date > utc_day(fetched_at) THEN 'consumed on a day that had not begun'
            WHEN role = 'consumed' AND is_final AND period_end > fetched_at THEN 'final before its period was over'
            WHEN (metric, role, aggregation, temporality) NOT IN (
                SELECT (metric, role, aggregation, temporality) FROM lake.metrics
                WHERE vendor = $vendor AND endpoint = $endpoint
            ) THEN 'the metric is not declared'
        END AS fault
    FROM lake.usage
    WHERE vendor = $vendor AND account = $account AND endpoint = $endpoint
)
WHERE fault IS NOT NULL
ORDER BY usage_date DESC, fault, metric, series_id;
