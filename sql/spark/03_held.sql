-- one row per way of counting in usage and month: which days it holds; the warehouse knows it by file
CREATE OR REPLACE TEMPORARY VIEW lake_held AS
SELECT
    vendor, month, account, endpoint, metric, role, aggregation, temporality, unit, breakdown,
    min(usage_date) AS first_seen, max(usage_date) AS last_seen, max(observed_at) AS observed_until
FROM lake_usage
GROUP BY ALL;
