-- one row per metric that `$endpoint` of `$account` tells by day: its totals of the 30 UTC days up to `$day`, NULL where nothing is known
WITH daily AS (
    SELECT metric, unit, aggregation, temporality, breakdown, usage_date, sum(value) AS total
    FROM usage_daily
    WHERE account = $account AND endpoint = $endpoint AND usage_date BETWEEN CAST($day AS DATE) - 29 AND CAST($day AS DATE)
        -- Parts that overlap, or peaks of different times, have no sum.
        AND (breakdown = '' OR aggregation IN ('sum', 'last'))
    GROUP BY ALL
),
-- The total; where no total is told, the parts of one breakdown.
chosen AS (
    FROM daily
    QUALIFY breakdown = first_value(breakdown) OVER (
        PARTITION BY metric, aggregation, temporality ORDER BY length(breakdown), breakdown
    )
),
days AS (
    SELECT CAST(unnest(range(CAST($day AS DATE) - 29, CAST($day AS DATE) + 1, INTERVAL 1 DAY)) AS DATE) AS usage_date
),
metrics AS (
    SELECT DISTINCT metric, unit, aggregation, temporality FROM chosen
)
SELECT
    metric, unit, aggregation,
    list(CAST(total AS DOUBLE) ORDER BY usage_date) AS totals,
    arg_max(rtrim(rtrim(CAST(total AS VARCHAR), '0'), '.'), usage_date) FILTER (total IS NOT NULL) AS newest
FROM metrics
CROSS JOIN days
LEFT JOIN chosen USING (metric, unit, aggregation, temporality, usage_date)
GROUP BY metric, unit, aggregation, temporality
ORDER BY metric, aggregation, temporality;
