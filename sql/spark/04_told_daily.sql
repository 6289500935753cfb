-- one row per account, endpoint, metric, unit and breakdown that is told day by day, with the first day
CREATE OR REPLACE TEMPORARY VIEW lake_told_daily AS
SELECT vendor, account, endpoint, metric, unit, breakdown, min(first_seen) AS since
FROM lake_held
WHERE role = 'consumed' AND aggregation = 'sum' AND temporality = 'delta'
GROUP BY ALL;
