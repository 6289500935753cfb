-- one row per vendor, metric and breakdown: what was told of one day
SELECT vendor, metric, breakdown, count(*) AS told, sum(value) AS value
FROM usage
WHERE usage_date = DATE '2024-05-17'
GROUP BY ALL;
