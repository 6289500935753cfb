-- one row: how many rows of `usage` the endpoint has, and the first and the last day they report on
SELECT count(*) AS rows, min(usage_date) AS first_day, max(usage_date) AS last_day
FROM lake.usage
WHERE vendor = $vendor AND account = $account AND endpoint = $endpoint;
