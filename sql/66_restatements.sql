-- one row per value that a vendor changed or withdrew after its period was over, and per fall of a running total
CREATE VIEW restatements AS
SELECT
    vendor, account, endpoint, usage_date, metric, role, unit, breakdown, dimensions, period_start, period_end,
    CASE WHEN new_value IS NULL THEN 'withdrawn' ELSE 'changed' END AS kind,
    old_value, new_value, new_value - old_value AS difference, was_final,
    old_fetched_at, new_fetched_at, old_response_id, new_response_id, series_id
FROM lake.restatements
-- A load that was killed before its rows stood says the same again with the next answer.
QUALIFY row_number() OVER (
    PARTITION BY series_id, period_start, period_end, old_response_id, new_value ORDER BY new_fetched_at
) = 1
UNION ALL
SELECT
    vendor, account, endpoint, usage_date, metric, role, unit, breakdown, dimensions, period_start, period_end,
    'fell' AS kind,
    old_value, value AS new_value, value - old_value AS difference, false AS was_final,
    old_fetched_at, fetched_at AS new_fetched_at, old_response_id, response_id AS new_response_id, series_id
FROM (
    SELECT
        *,
        lag(value) OVER readings AS old_value,
        lag(fetched_at) OVER readings AS old_fetched_at,
        lag(response_id) OVER readings AS old_response_id
    FROM lake.usage
    WHERE role = 'consumed' AND aggregation = 'sum' AND temporality = 'cumulative'
    WINDOW readings AS (PARTITION BY vendor, account, endpoint, metric, breakdown, series_id, period_start ORDER BY period_end, observed_at)
)
WHERE value < old_value;
COMMENT ON COLUMN restatements.kind IS 'changed or withdrawn by a later answer; fell: a running total that fell within its period';
COMMENT ON COLUMN restatements.old_value IS 'What the vendor had said';
COMMENT ON COLUMN restatements.new_value IS 'What it says since; NULL where it says nothing any more';
COMMENT ON COLUMN restatements.difference IS 'new_value - old_value';
