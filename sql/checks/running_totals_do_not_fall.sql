-- one row per reading since `$lately` of a total or a peak so far, lower than the reading before it in the same period
SELECT
    usage_date, metric, aggregation, dimensions, before, value, value - before AS difference,
    period_start, period_end, fetched_at, response_id
FROM (
    SELECT *, lag(value) OVER (PARTITION BY series_id, period_start ORDER BY period_end, observed_at) AS before
    FROM lake.usage
    WHERE
        vendor = $vendor AND account = $account AND endpoint = $endpoint
        AND role = 'consumed' AND temporality = 'cumulative' AND aggregation IN ('sum', 'max', 'distinct')
        -- The point of a day that is not over may be anything.
        AND period_end <= fetched_at
        AND usage_date >= CAST($lately AS DATE) - 31
)
WHERE value < before AND usage_date >= $lately
ORDER BY usage_date DESC, metric, series_id;
