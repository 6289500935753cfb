-- one row per account, metric and way of counting: this month to its newest full day, and the month before to the same day
WITH month AS (
    SELECT
        CAST($today AS DATE) - 1 AS yesterday,
        CAST(date_trunc('month', yesterday) AS DATE) AS first_day,
        CAST(first_day - INTERVAL 1 MONTH AS DATE) AS before_first
),
full_days AS (
    SELECT *
    FROM account_daily, month
    WHERE usage_date <= yesterday AND usage_date >= before_first
),
-- Counts and peaks that run from the start of their own period: the same day of the period before.
running AS (
    SELECT * FROM full_days WHERE temporality = 'cumulative' AND aggregation <> 'sum'
),
periods AS (
    SELECT
        vendor, account, metric, unit, aggregation, temporality, covers_from, max(days_covered) AS reached,
        max(usage_date) AS newest, any_value(first_day) AS month_start,
        lag(covers_from) OVER earlier AS before_from,
        row_number() OVER later AS nth
    FROM running
    GROUP BY vendor, account, metric, unit, aggregation, temporality, covers_from
    WINDOW
        earlier AS (PARTITION BY vendor, account, metric, unit, aggregation, temporality ORDER BY covers_from),
        later AS (PARTITION BY vendor, account, metric, unit, aggregation, temporality ORDER BY covers_from DESC)
),
running_pairs AS (
    SELECT
        vendor, account, metric, unit, aggregation, temporality,
        utc_day(covers_from) AS first_day, utc_day(before_from) AS before_first,
        least(reached, coalesce(utc_day(covers_from) - utc_day(before_from), reached)) AS days,
        covers_from, before_from
    FROM periods
    WHERE nth = 1 AND newest >= month_start
),
running_sides AS (
    SELECT
        vendor, account, metric, unit, aggregation, temporality, first_day, before_first, days,
        max(value) FILTER (running.covers_from = pairs.covers_from) AS value_now,
        max(value) FILTER (running.covers_from = before_from) AS value_before,
        count(*) FILTER (running.covers_from = pairs.covers_from) > 0 AS known_now,
        count(*) FILTER (running.covers_from = before_from) > 0 AS known_before,
        bool_and(is_final) AS is_final,
        'so far' AS rule
    FROM running_pairs AS pairs
    LEFT JOIN (SELECT * EXCLUDE (yesterday, first_day, before_first) FROM running) AS running
        USING (vendor, account, metric, unit, aggregation, temporality)
    WHERE running.days_covered = days
    GROUP BY ALL
),
-- All others by the days of the calendar's months, as many of the one as of the other.
spans AS (
    SELECT
        vendor, account, metric, unit, aggregation, temporality, first_day, before_first,
        least(max(usage_date) - first_day + 1, first_day - before_first) AS days
    FROM full_days
    WHERE usage_date >= first_day AND NOT (temporality = 'cumulative' AND aggregation <> 'sum')
    GROUP BY vendor, account, metric, unit, aggregation, temporality, first_day, before_first
),
sides AS (
    SELECT
        vendor, account, metric, unit, aggregation, temporality,
        spans.first_day, spans.before_first, days, spans.first_day <= usage_date AS is_now,
        usage_date - CASE WHEN is_now THEN spans.first_day ELSE spans.before_first END + 1 AS day,
        value, days_covered, is_final,
        CASE
            WHEN temporality IN ('rolling', 'instant') OR aggregation = 'last' THEN 'on the day'
            WHEN aggregation = 'sum' THEN 'sum'
            WHEN aggregation = 'average' THEN 'average'
            ELSE 'highest day'
        END AS rule
    FROM spans
    JOIN (SELECT * EXCLUDE (yesterday, first_day, before_first) FROM full_days)
        USING (vendor, account, metric, unit, aggregation, temporality)
    WHERE day <= days
),
by_side AS (
    SELECT
        vendor, account, metric, unit, aggregation, temporality, first_day, before_first, days, is_now, rule,
        CASE rule
            WHEN 'sum' THEN sum(value)
            WHEN 'highest day' THEN max(value)
            WHEN 'average' THEN quotient(sum(value), count(*))
            ELSE max(value) FILTER (day = days)
        END AS value,
        CASE
            WHEN rule = 'on the day' THEN bool_or(day = days)
            -- Rows that reach back over the first day belong to two months.
            WHEN rule = 'sum' THEN sum(days_covered) = days AND bool_and(days_covered <= day)
            ELSE count(*) = days
        END AS is_known,
        CASE WHEN rule = 'on the day' THEN bool_and(is_final) FILTER (day = days) ELSE bool_and(is_final) END AS is_final
    FROM sides
    GROUP BY vendor, account, metric, unit, aggregation, temporality, first_day, before_first, days, is_now, rule
),
calendar_sides AS (
    SELECT
        vendor, account, metric, unit, aggregation, temporality, first_day, before_first, days,
        max(value) FILTER (is_now) AS value_now,
        max(value) FILTER (NOT is_now) AS value_before,
        coalesce(bool_or(is_known) FILTER (is_now), false) AS known_now,
        coalesce(bool_or(is_known) FILTER (NOT is_now), false) AS known_before,
        bool_and(is_final) AS is_final,
        rule
    FROM by_side
    GROUP BY ALL
),
both_sides AS (FROM running_sides UNION ALL BY NAME FROM calendar_sides),
-- What there was in the one month or the other, and whether the endpoint was heard in it at all.
seen AS (
    SELECT
        vendor, account, endpoint, metric, unit, aggregation, temporality, breakdown,
        bool_or(usage_date >= first_day) AS seen_now, bool_or(usage_date < first_day) AS seen_before
    FROM full_days
    GROUP BY ALL
),
heard AS (
    SELECT
        vendor, account, endpoint,
        bool_or(usage_date >= first_day) AS heard_now, bool_or(usage_date < first_day) AS heard_before
    FROM coverage, month
    WHERE state IN ('complete', 'provisional', 'empty') AND usage_date BETWEEN before_first AND yesterday
    GROUP BY ALL
)
SELECT
    vendor, account, endpoint, metric, unit, aggregation, temporality, breakdown,
    first_day, before_first, days, rule, is_final,
    CASE
        WHEN known_now AND known_before THEN 'compared'
        WHEN seen_now AND NOT seen_before AND heard_before THEN 'new'
        WHEN seen_before AND NOT seen_now AND heard_now THEN 'vanished'
        ELSE 'unknown'
    END AS status,
    CASE WHEN known_now THEN value_now END AS value_now,
    CASE WHEN known_before THEN value_before END AS value_before,
    CASE WHEN status = 'compared' THEN value_now - value_before END AS difference,
    CASE WHEN status = 'compared' AND value_before > 0
        THEN CAST(100 * (value_now - value_before) / value_before AS DECIMAL(18, 1)) END AS percent
FROM seen
LEFT JOIN both_sides USING (vendor, account, metric, unit, aggregation, temporality)
LEFT JOIN heard USING (vendor, account, endpoint)
ORDER BY status <> 'compared', abs(percent) DESC NULLS LAST, vendor, account, metric, temporality;
