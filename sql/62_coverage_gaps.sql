-- one row per account, endpoint and run of UTC days of which nothing is known, from the first day of interest to yesterday
CREATE VIEW coverage_gaps AS
WITH days AS (
    SELECT
        vendor, account, endpoint, history,
        CAST(unnest(range(start_date, utc_day(now()), INTERVAL 1 DAY)) AS DATE) AS usage_date
    FROM accounts
),
unknown AS (
    SELECT
        vendor, account, endpoint, history, usage_date,
        CASE
            WHEN state IS NOT NULL THEN state
            -- A day that nobody captured cannot be captured any more.
            WHEN history = 'snapshot' THEN 'not_available'
            ELSE 'not_asked'
        END AS state,
        coalesce(reason, '') AS reason
    FROM days
    LEFT JOIN coverage USING (vendor, account, endpoint, usage_date)
    WHERE state IS NULL OR state IN ('failed', 'not_available')
),
islands AS (
    SELECT
        *,
        date_diff('day', DATE '1970-01-01', usage_date)
        - row_number() OVER (PARTITION BY vendor, account, endpoint, state, reason ORDER BY usage_date) AS island
    FROM unknown
)
SELECT
    vendor, account, endpoint,
    min(usage_date) AS first_day, max(usage_date) AS last_day, CAST(count(*) AS INTEGER) AS days,
    state, reason, history = 'window' AND state <> 'not_available' AS can_be_asked
FROM islands
GROUP BY vendor, account, endpoint, history, state, reason, island;
COMMENT ON COLUMN coverage_gaps.first_day IS 'First UTC day of the run';
COMMENT ON COLUMN coverage_gaps.last_day IS 'Last UTC day of the run, inclusive';
COMMENT ON COLUMN coverage_gaps.days IS 'Days of the run';
COMMENT ON COLUMN coverage_gaps.state IS 'not_asked: nobody asked yet; failed: the last attempt failed; not_available: the vendor does not tell it';
COMMENT ON COLUMN coverage_gaps.can_be_asked IS 'Whether a pull can still fill it';
