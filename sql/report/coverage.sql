-- one row per configured account, endpoint and UTC day of the last 91 since its start; today only where something is known
WITH days AS (
    SELECT
        vendor, account, endpoint, history,
        CAST(unnest(range(
            greatest(CAST(start_date AS DATE), CAST($today AS DATE) - 90), CAST($today AS DATE) + 1, INTERVAL 1 DAY
        )) AS DATE) AS usage_date
    FROM accounts
)
SELECT
    vendor, account, endpoint, usage_date,
    coalesce(state, CASE WHEN history = 'snapshot' THEN 'not_available' ELSE 'not_asked' END) AS state,
    coalesce(reason, '') AS reason,
    fetched_at
FROM days
LEFT JOIN coverage USING (vendor, account, endpoint, usage_date)
WHERE state IS NOT NULL OR usage_date < CAST($today AS DATE)
ORDER BY vendor, account, endpoint, usage_date;
