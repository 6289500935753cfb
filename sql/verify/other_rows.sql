-- one row per UTC day: rows of an endpoint that the raw answers tell and the table lacks, and the other way round
WITH rows AS (
    SELECT * FROM lake.usage WHERE vendor = $vendor AND account = $account AND endpoint = $endpoint
),
differ AS (
    SELECT *, 1 AS lacking, 0 AS beyond FROM (SELECT * FROM expected EXCEPT ALL SELECT * FROM rows)
    UNION ALL
    SELECT *, 0, 1 FROM (SELECT * FROM rows EXCEPT ALL SELECT * FROM expected)
)
SELECT
    CASE WHEN $history = 'snapshot' THEN CAST(observed_at AS DATE) ELSE usage_date END AS usage_date,
    CAST(sum(lacking) AS BIGINT) AS lacking,
    CAST(sum(beyond) AS BIGINT) AS beyond
FROM differ
GROUP BY ALL
-- What cannot be read says nothing of its day, and is told elsewhere.
HAVING NOT list_contains($refused, CASE WHEN $history = 'snapshot' THEN CAST(observed_at AS DATE) ELSE usage_date END)
ORDER BY ALL;
