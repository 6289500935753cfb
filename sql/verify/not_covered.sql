-- one row per account, endpoint and UTC day that an answer tells and that coverage has not heard of since it landed
SELECT told.vendor, told.account, told.endpoint, told.usage_date
FROM (SELECT vendor, account, endpoint, usage_date, max(landed_at) AS landed_at FROM landings GROUP BY ALL) AS told
LEFT JOIN lake.coverage USING (vendor, account, endpoint, usage_date)
WHERE coverage.attempted_at IS NULL OR coverage.attempted_at < told.landed_at
ORDER BY ALL;
