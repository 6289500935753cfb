-- one row per account, endpoint and UTC day that coverage calls told, by an answer that is not kept
SELECT vendor, account, endpoint, usage_date
FROM lake.coverage
ANTI JOIN landings
    ON landings.vendor = coverage.vendor
    AND landings.account = coverage.account
    AND landings.endpoint = coverage.endpoint
    AND landings.usage_date = coverage.usage_date
    AND landings.landed_at = coverage.fetched_at
WHERE fetched_at IS NOT NULL
ORDER BY ALL;
