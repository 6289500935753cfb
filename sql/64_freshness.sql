-- one row per configured account and endpoint: up to which UTC day everything is known
CREATE VIEW freshness AS
WITH known AS (
    SELECT
        vendor, account, endpoint,
        max(usage_date) FILTER (state IN ('complete', 'provisional', 'empty')) AS last_usage_date,
        max(fetched_at) AS last_fetched_at,
        max(attempted_at) AS last_attempted_at,
        arg_max(state, usage_date) AS last_state,
        arg_max(reason, usage_date) AS last_reason
    FROM coverage
    GROUP BY vendor, account, endpoint
),
-- Days that are not known for good, though they can be.
open_days AS (
    SELECT vendor, account, endpoint, first_day AS usage_date FROM coverage_gaps WHERE can_be_asked
    UNION ALL
    SELECT vendor, account, endpoint, usage_date FROM coverage WHERE state = 'provisional'
),
gaps AS (
    SELECT vendor, account, endpoint, min(usage_date) AS first_gap
    FROM open_days
    GROUP BY vendor, account, endpoint
)
SELECT
    vendor, account, endpoint, history, start_date,
    CASE WHEN last_usage_date >= start_date THEN
        CASE WHEN first_gap IS NULL OR first_gap > last_usage_date THEN last_usage_date
            WHEN first_gap > start_date THEN first_gap - 1
        END
    END AS complete_up_to,
    last_usage_date, last_fetched_at, last_attempted_at, last_state, last_reason,
    CAST(greatest(0, utc_day(now()) - 1 - coalesce(complete_up_to, start_date - 1)) AS INTEGER) AS days_behind
FROM accounts
LEFT JOIN known USING (vendor, account, endpoint)
LEFT JOIN gaps USING (vendor, account, endpoint);
COMMENT ON COLUMN freshness.complete_up_to IS 'Last UTC day before the first that is provisional, failed or not asked; NULL where there is none';
COMMENT ON COLUMN freshness.last_usage_date IS 'Newest UTC day that is known, provisionally or for good';
COMMENT ON COLUMN freshness.last_fetched_at IS 'When the newest answer was received';
COMMENT ON COLUMN freshness.last_attempted_at IS 'When the endpoint was last asked';
COMMENT ON COLUMN freshness.last_state IS 'State of the newest UTC day that coverage speaks of';
COMMENT ON COLUMN freshness.last_reason IS 'Reason of that state, where there is one';
COMMENT ON COLUMN freshness.days_behind IS 'UTC days from complete_up_to to yesterday';
