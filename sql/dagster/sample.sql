-- up to ten rows of `$endpoint` of `$account` that report on `$day`, with every value as text
SELECT
    CAST(usage_date AS VARCHAR) AS usage_date,
    metric, role, aggregation, temporality, unit,
    rtrim(rtrim(CAST(value AS VARCHAR), '0'), '.') AS value,
    CAST(dimensions AS VARCHAR) AS dimensions,
    CAST(period_start AS VARCHAR) AS period_start,
    CAST(period_end AS VARCHAR) AS period_end,
    is_final
FROM usage
WHERE account = $account AND endpoint = $endpoint AND usage_date = CAST($day AS DATE)
ORDER BY metric, role, aggregation, temporality, length(breakdown), series_id, period_start
LIMIT 10;
