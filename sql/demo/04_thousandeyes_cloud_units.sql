-- ThousandEyes cloud units of the current billing period: how many are used, how many are allowed, where will it end?
WITH newest AS (
    SELECT account, role, period_start, value
    FROM usage
    WHERE vendor = 'thousandeyes' AND metric = 'cloud_units' AND temporality = 'cumulative' AND breakdown = ''
    QUALIFY row_number() OVER (PARTITION BY account, role ORDER BY period_start DESC, observed_at DESC) = 1
)
SELECT
    account,
    CAST(period_start AS DATE) AS period_start,
    any_value(value) FILTER (role = 'consumed') AS used,
    any_value(value) FILTER (role = 'projected') AS projected,
    any_value(value) FILTER (role = 'entitled') AS entitled
FROM newest
GROUP BY account, period_start;
