-- one row per account, endpoint and UTC day of which coverage counts other rows than the table has
WITH rows AS (
    SELECT
        vendor,
        account,
        endpoint,
        CASE WHEN endpoints.history = 'snapshot' THEN CAST(observed_at AS DATE) ELSE usage_date END AS usage_date,
        -- Projections and allowances to the end of a period stand once, however many days told them.
        role <> 'consumed' AND period_end > observed_at AS ahead
    FROM lake.usage
    JOIN endpoints USING (vendor, endpoint)
),
counted AS (
    SELECT vendor, account, endpoint, usage_date, count(*) FILTER (NOT ahead) AS found
    FROM rows
    GROUP BY ALL
),
looking_ahead AS (
    SELECT vendor, account, endpoint FROM rows WHERE ahead GROUP BY ALL
)
SELECT vendor, account, endpoint, usage_date, coverage.rows AS told, coalesce(found, 0) AS found
FROM lake.coverage
LEFT JOIN counted USING (vendor, account, endpoint, usage_date)
LEFT JOIN looking_ahead USING (vendor, account, endpoint)
WHERE told < coalesce(found, 0) OR (told <> coalesce(found, 0) AND looking_ahead.endpoint IS NULL)
ORDER BY ALL;
