-- one row per account, metric, way of counting and UTC day, 100 days back: the account's total, or its parts together
CREATE OR REPLACE TEMP TABLE account_daily AS
WITH chosen AS (
    SELECT *
    FROM usage_daily
    WHERE usage_date >= CAST($today AS DATE) - 100 AND usage_date <= CAST($today AS DATE)
        AND (breakdown = '' OR aggregation IN ('sum', 'last'))
    -- One breakdown, the coarsest, and only where no total is told.
    QUALIFY dense_rank() OVER (
        PARTITION BY vendor, account, metric, unit, aggregation, temporality
        ORDER BY split_depth(breakdown), breakdown, endpoint
    ) = 1
)
SELECT
    vendor, account, endpoint, metric, unit, aggregation, temporality, breakdown, usage_date,
    sum(value) AS value,
    max(days_covered) AS days_covered,
    min(covers_from) AS covers_from,
    bool_and(chosen.is_final) AS is_final
FROM chosen
LEFT JOIN coverage USING (vendor, account, endpoint, usage_date)
-- Of a day that failed some parts may be missing: what is left is no total.
WHERE breakdown = '' OR coalesce(state, '') <> 'failed'
GROUP BY ALL;
