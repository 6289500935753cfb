-- one row per account and billing period: as the vendor states it, and month by month after the last stated one up to the newest usage
CREATE VIEW billing_months AS
WITH stated AS (
    SELECT vendor, account, period_start, max(period_end) AS period_end
    FROM lake.billing_periods
    GROUP BY vendor, account, period_start
),
reach AS (
    SELECT vendor, account, max(observed_at) FILTER (role = 'consumed') AS until
    FROM lake.usage
    GROUP BY vendor, account
),
newest AS (
    SELECT vendor, account, max(period_end) AS period_end
    FROM stated
    GROUP BY vendor, account
),
following AS (
    SELECT
        vendor, account, until, period_end AT TIME ZONE 'UTC' AS origin,
        unnest(range(0, 1 + CAST(date_diff('month', period_end AT TIME ZONE 'UTC', until AT TIME ZONE 'UTC') AS BIGINT))) AS months
    FROM newest
    JOIN reach USING (vendor, account)
    WHERE period_end < until
)
SELECT vendor, account, period_start, period_end, true AS is_stated
FROM stated
UNION ALL
SELECT
    vendor, account,
    (origin + to_months(CAST(months AS INTEGER))) AT TIME ZONE 'UTC' AS period_start,
    (origin + to_months(CAST(months + 1 AS INTEGER))) AT TIME ZONE 'UTC' AS period_end,
    false AS is_stated
FROM following
WHERE (origin + to_months(CAST(months AS INTEGER))) AT TIME ZONE 'UTC' < until;
COMMENT ON COLUMN billing_months.period_start IS 'Start of the billing period, inclusive';
COMMENT ON COLUMN billing_months.period_end IS 'End of the billing period, exclusive';
COMMENT ON COLUMN billing_months.is_stated IS 'Whether the vendor states the period; else it continues the last stated one by whole months';
