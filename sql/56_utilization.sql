-- one row per account, metric, unit and billing period (else calendar month) in which something is entitled
CREATE VIEW utilization AS
WITH months AS (
    SELECT *
    FROM usage_monthly
    WHERE lake.is_weighed(metric, breakdown)
    QUALIFY calendar = 'billing' OR NOT bool_or(calendar = 'billing') OVER (PARTITION BY series_id)
),
-- One way of counting each metric: the total before parts, few parts before many, the period to date before its days.
chosen AS (
    SELECT *
    FROM months
    WHERE breakdown = '' OR (aggregation IN ('sum', 'last') AND temporality <> 'rolling')
    QUALIFY dense_rank() OVER (
        PARTITION BY vendor, account, metric, unit, period_start
        ORDER BY
            split_depth(breakdown), breakdown,
            CASE temporality WHEN 'cumulative' THEN 1 WHEN 'delta' THEN 2 WHEN 'instant' THEN 3 ELSE 4 END,
            endpoint, aggregation
    ) = 1
),
consumption AS (
    SELECT
        vendor, account, metric, unit, period_start, period_end,
        any_value(endpoint) AS endpoint, any_value(breakdown) AS breakdown,
        any_value(aggregation) AS aggregation, any_value(temporality) AS temporality,
        sum(value) AS consumed, any_value(rule) AS consumed_rule,
        -- Known of all parts, not only of the newest one.
        min(as_of) AS as_of, min(last_day) AS last_day, min(days_known) AS days_known, max(days_in_period) AS days_in_period
    FROM chosen
    GROUP BY vendor, account, metric, unit, period_start, period_end
),
-- What the vendor says is allowed: for the period itself, or as a level that holds while it stands.
allowed AS (
    SELECT
        vendor, account, metric, unit, period_start, period_end,
        arg_max(value, observed_at) AS entitled, max(observed_at) AS told_at
    FROM usage
    WHERE role = 'entitled' AND breakdown = '' AND temporality = 'cumulative'
    GROUP BY vendor, account, metric, unit, period_start, period_end
    UNION ALL
    SELECT
        usage.vendor, usage.account, metric, unit,
        coalesce(billing_months.period_start, CAST(date_trunc('month', usage_date) AS TIMESTAMP) AT TIME ZONE 'UTC') AS month_start,
        coalesce(
            billing_months.period_end, CAST(date_trunc('month', usage_date) + INTERVAL 1 MONTH AS TIMESTAMP) AT TIME ZONE 'UTC'
        ) AS month_end,
        arg_max(value, observed_at), max(observed_at)
    FROM usage
    LEFT JOIN billing_months
        ON usage.vendor = billing_months.vendor AND usage.account = billing_months.account
        AND usage_date >= utc_day(billing_months.period_start) AND usage_date < utc_day(billing_months.period_end)
    WHERE role = 'entitled' AND breakdown = '' AND temporality <> 'cumulative'
    GROUP BY usage.vendor, usage.account, metric, unit, month_start, month_end
),
entitled AS (
    SELECT
        coalesce(consumption.vendor, allowed.vendor) AS vendor,
        coalesce(consumption.account, allowed.account) AS account,
        coalesce(consumption.metric, allowed.metric) AS metric,
        coalesce(consumption.unit, allowed.unit) AS unit,
        coalesce(consumption.period_start, allowed.period_start) AS period_start,
        coalesce(consumption.period_end, allowed.period_end) AS period_end,
        coalesce(as_of, told_at) AS as_of,
        endpoint, breakdown, aggregation, temporality, consumed, consumed_rule, last_day, days_known, days_in_period,
        -- The contract that somebody wrote down stands above what the API tells.
        coalesce(entitlements.quantity, allowed.entitled) AS entitled,
        CASE WHEN entitlements.quantity IS NULL THEN 'vendor' ELSE 'configuration' END AS entitled_by
    FROM consumption
    FULL JOIN allowed
        ON consumption.vendor = allowed.vendor AND consumption.account = allowed.account
        AND consumption.metric = allowed.metric AND consumption.unit = allowed.unit
        AND consumption.period_start = allowed.period_start
    LEFT JOIN entitlements
        ON consumption.vendor = entitlements.vendor AND consumption.account = entitlements.account
        AND consumption.metric = entitlements.metric AND last_day >= valid_from
        AND (valid_to IS NULL OR valid_to >= utc_day(consumption.period_start))
    WHERE entitlements.quantity IS NOT NULL OR allowed.entitled IS NOT NULL
    -- Of several within a period the newest.
    QUALIFY row_number() OVER (
        PARTITION BY consumption.vendor, consumption.account, consumption.metric, consumption.unit, consumption.period_start,
            allowed.vendor, allowed.account, allowed.metric, allowed.unit, allowed.period_start
        ORDER BY valid_from DESC
    ) = 1
),
outlook AS (
    SELECT vendor, account, metric, unit, period_start, arg_max(value, observed_at) AS projected
    FROM usage
    WHERE role = 'projected' AND breakdown = '' AND temporality = 'cumulative'
    GROUP BY vendor, account, metric, unit, period_start
),
projections AS (
    SELECT
        entitled.*,
        CASE WHEN as_of < period_end THEN coalesce(
            outlook.projected,
            CASE
                WHEN aggregation <> 'sum' THEN NULL
                WHEN temporality = 'cumulative' AND as_of > period_start THEN TRY_CAST(
                    consumed * ((epoch(period_end) - epoch(period_start)) / (epoch(as_of) - epoch(period_start)))
                    AS DECIMAL(38, 9)
                )
                -- Days that are not known are not days without use.
                WHEN temporality = 'delta' AND days_known > 0 THEN TRY_CAST(
                    consumed * (days_in_period / days_known) AS DECIMAL(38, 9)
                )
            END
        ) END AS projected,
        CASE
            WHEN as_of >= period_end THEN NULL
            WHEN outlook.projected IS NOT NULL THEN 'vendor'
            WHEN aggregation = 'sum' THEN 'run rate'
        END AS projected_by
    FROM entitled
    LEFT JOIN outlook USING (vendor, account, metric, unit, period_start)
),
-- What was consumed on each day of the period, in the way of counting that was chosen.
path AS (
    SELECT
        projections.vendor, projections.account, metric, unit, projections.period_start, projections.aggregation,
        entitled, usage_daily.usage_date, sum(usage_daily.value) AS value
    FROM projections
    JOIN usage_daily USING (vendor, account, metric, unit, endpoint, breakdown, aggregation, temporality)
    WHERE lake.is_weighed(usage_daily.metric, usage_daily.breakdown)
        AND usage_daily.usage_date >= utc_day(projections.period_start)
        AND usage_daily.usage_date <= projections.last_day
        AND (usage_daily.temporality <> 'cumulative' OR usage_daily.covers_from >= projections.period_start)
    GROUP BY ALL
),
levels AS (
    SELECT
        *,
        CASE
            WHEN aggregation = 'sum' THEN sum(value) OVER (
                PARTITION BY vendor, account, metric, unit, period_start ORDER BY usage_date
            )
            ELSE value
        END AS level
    FROM path
),
reached AS (
    SELECT vendor, account, metric, unit, period_start, min(usage_date) AS reached_on
    FROM levels
    WHERE level >= entitled AND level > 0
    GROUP BY vendor, account, metric, unit, period_start
)
SELECT
    vendor, account, metric, unit, period_start, period_end, as_of, consumed, entitled, projected,
    CASE WHEN entitled > 0 THEN TRY_CAST(consumed / entitled AS DECIMAL(18, 4)) END AS ratio,
    CASE WHEN entitled > 0 THEN TRY_CAST(projected / entitled AS DECIMAL(18, 4)) END AS projected_ratio,
    entitled - consumed AS remaining,
    coalesce(
        reached_on,
        CASE
            WHEN consumed < entitled AND projected > entitled AND projected > consumed THEN utc_day(
                as_of + to_microseconds(CAST(
                    (epoch_us(period_end) - epoch_us(as_of)) * ((entitled - consumed) / (projected - consumed)) AS BIGINT
                ))
            )
        END
    ) AS exhausted_on,
    consumed_rule, entitled_by, projected_by
FROM projections
LEFT JOIN reached USING (vendor, account, metric, unit, period_start);
COMMENT ON COLUMN utilization.period_start IS 'Start of the billing period, or of the calendar month where the account has none; inclusive';
COMMENT ON COLUMN utilization.period_end IS 'End of the period, exclusive';
COMMENT ON COLUMN utilization.as_of IS 'Up to when the consumption is known';
COMMENT ON COLUMN utilization.consumed IS 'The account''s consumption in the period by consumed_rule; NULL where only the entitlement is told';
COMMENT ON COLUMN utilization.entitled IS 'What the contract allows in the period, or at once for levels and peaks';
COMMENT ON COLUMN utilization.projected IS 'Consumption expected by the end of an open period; NULL where nobody knows';
COMMENT ON COLUMN utilization.ratio IS 'consumed / entitled; NULL where nothing is entitled';
COMMENT ON COLUMN utilization.projected_ratio IS 'projected / entitled';
COMMENT ON COLUMN utilization.remaining IS 'entitled - consumed; negative where it is overdrawn';
COMMENT ON COLUMN utilization.exhausted_on IS 'UTC day on which consumption reached what is entitled, or is expected to; NULL: not within the period';
COMMENT ON COLUMN utilization.consumed_rule IS 'How the consumption follows from the days, as in usage_monthly';
COMMENT ON COLUMN utilization.entitled_by IS 'vendor: its API tells the entitlement; configuration: accounts.yaml does';
COMMENT ON COLUMN utilization.projected_by IS 'vendor: its own projection; run rate: the period so far, carried on';
