-- one row per table, account and endpoint: rows that name a raw answer that is not kept
WITH rows AS (
    SELECT 'usage' AS name, vendor, account, endpoint, response_id FROM lake.usage
    UNION ALL
    SELECT 'billing_periods', vendor, account, endpoint, response_id FROM lake.billing_periods
    UNION ALL
    SELECT 'inventory', vendor, account, endpoint, response_id FROM lake.inventory
    UNION ALL
    SELECT 'restatements', vendor, account, endpoint, unnest([old_response_id, new_response_id]) FROM lake.restatements
)
SELECT name, vendor, account, endpoint, count(*) AS rows
FROM rows
ANTI JOIN answers USING (response_id)
WHERE response_id IS NOT NULL
GROUP BY ALL
ORDER BY ALL;
