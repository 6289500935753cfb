-- one row per account, endpoint and UTC day up to `$through` that a pull can still fill, and when it was last tried
WITH gaps AS (
    SELECT vendor, account, endpoint, CAST(unnest(range(first_day, last_day + 1, INTERVAL 1 DAY)) AS DATE) AS usage_date
    FROM coverage_gaps
    WHERE can_be_asked AND first_day <= CAST($through AS DATE)
)
SELECT account, endpoint, usage_date, attempted_at
FROM gaps
LEFT JOIN coverage USING (vendor, account, endpoint, usage_date)
WHERE usage_date <= CAST($through AS DATE)
ORDER BY account, endpoint, usage_date;
