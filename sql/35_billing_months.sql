-- one row per account and billing period: as the vendor states it, and month by month after the last stated one up to the newest usage
CREATE VIEW billing_months AS
WITH stated AS (
    SELECT vendor, account, period_start, max(period_end) AS period_end
    FROM lake.billing_periods
    GROUP BY vendor, account, period_start
),
reach AS (
    SELECT vendor, account, max(observed_until) FILTER (role = 'consumed') AS until
    FROM lake.held
    GROUP BY vendor, account
),
newest AS (
    SELECT vendor, account, max(period_end) AS period_end
    FROM stated
    GROUP BY vendor, account
),
-- Fifty years of months, of which the begun ones are taken.
following AS (
    SELECT
        vendor, account, until,
        (period_end AT TIME ZONE 'UTC' + to_months(CAST(month AS INTEGER))) AT TIME ZONE 'UTC' AS period_start,
        (period_end AT TIME ZONE 'UTC' + to_months(CAST(month + 1 AS INTEGER))) AT TIME ZONE 'UTC' AS period_end
    FROM newest
    JOIN reach USING (vendor, account)
    CROSS JOIN range(600) AS months(month)
)
SELECT vendor, account, period_start, period_end, true AS is_stated
FROM stated
UNION ALL
SELECT vendor, account, period_start, period_end, false AS is_stated
FROM following
WHERE period_start < until;
COMMENT ON COLUMN billing_months.period_start IS 'Start of the billing period, inclusive';
COMMENT ON COLUMN billing_months.period_end IS 'End of the billing period, exclusive';
COMMENT ON COLUMN billing_months.is_stated IS 'Whether the vendor states the period; else it continues the last stated one by whole months';
