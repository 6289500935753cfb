-- one row per series and day since `$lately` far from the median of the same weekday in the weeks before, four to eight of them
WITH told AS (
    SELECT *
    FROM lake.usage
    WHERE
        vendor = $vendor AND account = $account AND endpoint = $endpoint AND role = 'consumed'
        AND usage_date BETWEEN CAST($lately AS DATE) - 64 AND CAST($today AS DATE) - 1
        -- The point of a day that is not over may be anything.
        AND period_end <= fetched_at
        -- Peaks, averages and distinct counts of a period so far rise all the time.
        AND (aggregation = 'sum' OR temporality <> 'cumulative')
    QUALIFY
        -- The total, or what is split least where there is none.
        cardinality(dimensions) = min(cardinality(dimensions)) OVER (PARTITION BY metric, aggregation, temporality)
        -- What is also told day by day is not read off the running total.
        AND (temporality <> 'cumulative' OR NOT bool_or(temporality = 'delta') OVER (PARTITION BY metric, aggregation))
),
daily AS (
    SELECT
        series_id, metric, aggregation, temporality, dimensions, usage_date,
        arg_max(period_start, observed_at) AS period,
        CASE WHEN temporality = 'delta' AND aggregation = 'sum' THEN sum(value) ELSE arg_max(value, observed_at) END AS told
    FROM told
    GROUP BY series_id, metric, aggregation, temporality, dimensions, usage_date
),
amounts AS (
    SELECT
        *,
        CASE
            WHEN temporality <> 'cumulative' THEN told
            -- A day's part of a running total, where the day before was read too.
            WHEN lag(period) OVER days = period AND lag(usage_date) OVER days = usage_date - 1 THEN told - lag(told) OVER days
        END AS value
    FROM daily
    WINDOW days AS (PARTITION BY series_id ORDER BY usage_date)
),
compared AS (
    SELECT *, median(value) OVER weekdays AS usual, count(*) OVER weekdays AS weeks
    FROM amounts
    WHERE value >= 0
    WINDOW weekdays AS (
        PARTITION BY series_id, dayofweek(usage_date) ORDER BY usage_date ROWS BETWEEN 8 PRECEDING AND 1 PRECEDING
    )
)
SELECT usage_date, metric, aggregation, temporality, dimensions, value, usual, weeks
FROM compared
WHERE
    usage_date >= $lately AND weeks >= 4
    AND (value > 3 * usual OR 3 * value < usual)
    -- From one to four is no news.
    AND abs(value - usual) >= 10
ORDER BY usage_date DESC, metric, temporality, series_id;
