-- one row per metric: what was told of one month
SELECT metric, count(*) AS told, sum(value) AS value
FROM usage
WHERE month = '2024-05'
GROUP BY ALL;
