-- one row per series and UTC day with a measurement: what was consumed on the day, or what stood at its end
CREATE VIEW usage_daily AS
-- Each kind reads the table by itself, and windows name the columns that a series has but one of: so a reader's own
-- conditions on them reach the files.
WITH amounts AS (
    SELECT
        * EXCLUDE (month, role, fetched_at, response_id, value, is_final, period_start, period_end),
        CASE aggregation
            WHEN 'sum' THEN sum(value) OVER one_day
            WHEN 'max' THEN max(value) OVER one_day
            ELSE value
        END AS value,
        'reported' AS derivation,
        CAST(greatest(1, round((epoch(period_end) - epoch(period_start)) / 86400)) AS INTEGER) AS days_covered,
        min(period_start) OVER one_day AS covers_from,
        period_end AS covers_to,
        bool_and(is_final) OVER one_day AS is_final
    FROM usage
    WHERE role = 'consumed' AND temporality = 'delta'
    WINDOW one_day AS (PARTITION BY vendor, account, endpoint, metric, breakdown, series_id, usage_date)
    QUALIFY row_number() OVER (PARTITION BY vendor, account, endpoint, metric, breakdown, series_id, usage_date ORDER BY period_end DESC) = 1
),
-- The last reading of each day, within the period that it belongs to. What an endpoint also tells day by day is not read
-- off its running totals: it would count twice.
readings AS (
    SELECT usage.* EXCLUDE (month, role, fetched_at, response_id)
    FROM usage
    LEFT JOIN lake.told_daily USING (vendor, account, endpoint, metric, unit, breakdown)
    WHERE role = 'consumed' AND aggregation = 'sum' AND temporality = 'cumulative' AND (since IS NULL OR usage_date < since)
    QUALIFY row_number() OVER (
        PARTITION BY vendor, account, endpoint, metric, breakdown, series_id, period_start, usage_date ORDER BY period_end DESC, observed_at DESC
    ) = 1
),
differences AS (
    SELECT
        * EXCLUDE (is_final),
        value - coalesce(lag(value) OVER this_period, 0) AS difference,
        coalesce(value < lag(value) OVER this_period, false) AS fell,
        coalesce(lag(period_end) OVER this_period, period_start) AS last_read,
        date_diff('day', coalesce(lag(usage_date) OVER this_period, utc_day(period_start) - 1), usage_date) AS days,
        -- A meter's readings stay what they were: their difference stands once a later day was read.
        is_final OR (period_end = observed_at AND usage_date < max(usage_date) OVER (PARTITION BY vendor, account, endpoint, metric, breakdown, series_id)) AS is_final
    FROM readings
    WINDOW this_period AS (PARTITION BY vendor, account, endpoint, metric, breakdown, series_id, period_start ORDER BY usage_date)
),
-- Where one period ends and the next begins within a day, the day has a part of each.
metered AS (
    SELECT
        * EXCLUDE (value, is_final, difference, fell, last_read, days, period_start, period_end),
        sum(difference) OVER one_day AS value,
        CASE WHEN bool_or(fell) OVER one_day THEN 'restated' ELSE 'difference' END AS derivation,
        CAST(max(days) OVER one_day AS INTEGER) AS days_covered,
        min(last_read) OVER one_day AS covers_from,
        period_end AS covers_to,
        bool_and(is_final) OVER one_day AS is_final
    FROM differences
    WINDOW one_day AS (PARTITION BY vendor, account, endpoint, metric, breakdown, series_id, usage_date)
    QUALIFY row_number() OVER (PARTITION BY vendor, account, endpoint, metric, breakdown, series_id, usage_date ORDER BY period_end DESC) = 1
),
-- Distinct counts, peaks, averages and levels are no amounts: the last one of the day stands as it was told.
levels AS (
    SELECT
        * EXCLUDE (month, role, fetched_at, response_id, period_start, period_end),
        'last_reading' AS derivation,
        CAST(CASE temporality
            WHEN 'cumulative' THEN date_diff('day', utc_day(period_start), usage_date) + 1
            WHEN 'rolling' THEN round((epoch(period_end) - epoch(period_start)) / 86400)
            ELSE 1
        END AS INTEGER) AS days_covered,
        period_start AS covers_from,
        period_end AS covers_to
    FROM usage
    WHERE role = 'consumed' AND temporality <> 'delta' AND NOT (aggregation = 'sum' AND temporality = 'cumulative')
    QUALIFY row_number() OVER (PARTITION BY vendor, account, endpoint, metric, breakdown, series_id, usage_date ORDER BY period_end DESC, observed_at DESC) = 1
)
FROM amounts
UNION ALL BY NAME
FROM metered
UNION ALL BY NAME
FROM levels;
COMMENT ON COLUMN usage_daily.labels IS 'Names for people as they were told with the measurement; they may change within one series';
COMMENT ON COLUMN usage_daily.value IS 'What was consumed on the days covered (sum), or the count, peak or level that stood at the end of the day';
COMMENT ON COLUMN usage_daily.derivation IS 'reported; difference of a running total; restated, where the running total fell; last_reading of the day';
COMMENT ON COLUMN usage_daily.days_covered IS 'UTC days that the value speaks of, the last of them usage_date; more than 1 where days between two readings were missed';
COMMENT ON COLUMN usage_daily.covers_from IS 'Start of what the value speaks of: the reading before, or the start of the period';
COMMENT ON COLUMN usage_daily.covers_to IS 'End of what the value speaks of, exclusive';
