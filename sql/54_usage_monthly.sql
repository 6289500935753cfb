-- one row per series and month, for calendar months and for billing months
CREATE VIEW usage_monthly AS
WITH months AS (
    SELECT
        usage_daily.*,
        'calendar' AS calendar,
        CAST(NULL AS BOOLEAN) AS is_stated,
        CAST(date_trunc('month', usage_date) AS DATE) AS first_day,
        CAST(date_trunc('month', usage_date) + INTERVAL 1 MONTH AS DATE) AS next_day,
        CAST(first_day AS TIMESTAMP) AT TIME ZONE 'UTC' AS period_start,
        CAST(next_day AS TIMESTAMP) AT TIME ZONE 'UTC' AS period_end
    FROM usage_daily
    UNION ALL
    SELECT
        usage_daily.*, 'billing', is_stated,
        utc_day(period_start) AS first_day, utc_day(period_end) AS next_day, period_start, period_end
    FROM usage_daily
    JOIN billing_months USING (vendor, account)
    WHERE usage_date >= utc_day(period_start) AND usage_date < utc_day(period_end)
),
-- A running count of another period says nothing of the month.
of_days AS (
    SELECT
        *,
        -- Days before the month are not the month's, and days of the row before are known already.
        least(
            days_covered, usage_date - first_day + 1,
            coalesce(usage_date - lag(usage_date) OVER (PARTITION BY vendor, account, endpoint, metric, breakdown, series_id, calendar, period_start ORDER BY usage_date), days_covered)
        ) AS new_days
    FROM months
    WHERE temporality <> 'cumulative' OR CASE WHEN aggregation = 'sum' THEN calendar = 'calendar' ELSE covers_from = period_start END
),
by_days AS (
    SELECT
        * EXCLUDE (value, derivation, days_covered, new_days, covers_from, covers_to, usage_date, observed_at, is_final),
        CASE
            WHEN aggregation = 'sum' AND temporality <> 'rolling' THEN sum(value) OVER month
            WHEN aggregation IN ('distinct', 'max') AND temporality = 'delta' THEN max(value) OVER month
            WHEN aggregation = 'average' AND temporality IN ('delta', 'instant') THEN quotient(sum(value) OVER month, count(*) OVER month)
            ELSE value
        END AS value,
        CASE
            WHEN aggregation = 'sum' AND temporality <> 'rolling' THEN 'sum of days'
            WHEN aggregation IN ('distinct', 'max') AND temporality = 'delta' THEN 'highest day'
            WHEN aggregation = 'average' AND temporality IN ('delta', 'instant') THEN 'average of days'
            ELSE 'last reading'
        END AS rule,
        CASE
            WHEN temporality = 'cumulative' AND aggregation <> 'sum' THEN days_covered
            WHEN temporality = 'rolling' THEN count(*) OVER month
            ELSE sum(new_days) OVER month
        END AS known,
        CASE
            WHEN temporality = 'cumulative' AND aggregation <> 'sum' THEN is_final
            -- A row that reaches back into the month before cannot be split.
            ELSE bool_and(is_final AND (temporality = 'rolling' OR days_covered <= usage_date - first_day + 1)) OVER month
        END AS settled,
        usage_date AS last_day,
        observed_at AS as_of
    FROM of_days
    WINDOW month AS (PARTITION BY vendor, account, endpoint, metric, breakdown, series_id, calendar, period_start)
    QUALIFY row_number() OVER (PARTITION BY vendor, account, endpoint, metric, breakdown, series_id, calendar, period_start ORDER BY usage_date DESC) = 1
),
-- A running total has the amount of its billing period itself; days at a reset in the middle of a day have two.
by_readings AS (
    SELECT
        usage.* EXCLUDE (month, role, period_start, period_end, fetched_at, response_id, usage_date, observed_at, is_final),
        'billing' AS calendar, is_stated,
        utc_day(billing_months.period_start) AS first_day, utc_day(billing_months.period_end) AS next_day,
        billing_months.period_start, billing_months.period_end,
        'last reading' AS rule,
        usage_date - first_day + 1 AS known,
        is_final AS settled,
        usage_date AS last_day,
        observed_at AS as_of
    FROM usage
    JOIN billing_months
        ON usage.vendor = billing_months.vendor AND usage.account = billing_months.account
        AND usage.period_start = billing_months.period_start
    LEFT JOIN lake.told_daily
        ON usage.vendor = told_daily.vendor AND usage.account = told_daily.account
        AND usage.endpoint = told_daily.endpoint AND usage.metric = told_daily.metric
        AND usage.unit = told_daily.unit AND usage.breakdown = told_daily.breakdown
    WHERE role = 'consumed' AND aggregation = 'sum' AND temporality = 'cumulative' AND (since IS NULL OR usage_date < since)
    QUALIFY row_number() OVER (
        PARTITION BY usage.vendor, usage.account, usage.endpoint, usage.metric, usage.breakdown, series_id, billing_months.period_start
        ORDER BY usage.period_end DESC, observed_at DESC
    ) = 1
)
SELECT
    * EXCLUDE (first_day, next_day, known, settled),
    CAST(least(known, next_day - first_day) AS INTEGER) AS days_known,
    CAST(next_day - first_day AS INTEGER) AS days_in_period,
    settled AND known >= next_day - first_day AS is_final
FROM (FROM by_days UNION ALL BY NAME FROM by_readings);
COMMENT ON COLUMN usage_monthly.calendar IS 'calendar: months of the UTC calendar; billing: the account''s billing months';
COMMENT ON COLUMN usage_monthly.is_stated IS 'Whether the vendor states the billing month; NULL for calendar months';
COMMENT ON COLUMN usage_monthly.period_start IS 'Start of the month, inclusive';
COMMENT ON COLUMN usage_monthly.period_end IS 'End of the month, exclusive';
COMMENT ON COLUMN usage_monthly.value IS 'The month by its rule; of an open month, so far';
COMMENT ON COLUMN usage_monthly.rule IS 'How the month follows from the days: sum of days, highest day, average of days, last reading';
COMMENT ON COLUMN usage_monthly.last_day IS 'The newest UTC day that the value knows of';
COMMENT ON COLUMN usage_monthly.as_of IS 'When the newest measurement in it was true';
COMMENT ON COLUMN usage_monthly.days_known IS 'UTC days of the month that the measurements speak of';
COMMENT ON COLUMN usage_monthly.days_in_period IS 'UTC days of the month';
COMMENT ON COLUMN usage_monthly.is_final IS 'Every day of the month is known and none may still change';
