-- one row per account, metric and unit with an entitlement: its newest period, what is used up first, then the nearest to it
SELECT *
FROM utilization
WHERE utc_day(period_start) <= CAST($today AS DATE)
QUALIFY row_number() OVER (PARTITION BY vendor, account, metric, unit ORDER BY period_start DESC) = 1
ORDER BY coalesce(ratio >= 1, false) DESC, greatest(coalesce(ratio, 0), coalesce(projected_ratio, 0)) DESC, vendor, account, metric;
