-- one row per account, metric, breakdown and kind of what vendors changed in the last 31 days: how many values, and the largest change
SELECT
    vendor, account, endpoint, metric, unit, breakdown, kind,
    count(*) AS changes,
    min(usage_date) AS first_day, max(usage_date) AS last_day,
    arg_max(usage_date, abs(coalesce(difference, old_value))) AS largest_day,
    arg_max(old_value, abs(coalesce(difference, old_value))) AS old_value,
    -- Taken from a list, as arg_max passes over the NULL of a value that was withdrawn.
    list(new_value ORDER BY abs(coalesce(difference, old_value)) DESC)[1] AS new_value
FROM restatements
WHERE role = 'consumed' AND utc_day(new_fetched_at) > CAST($today AS DATE) - 31
GROUP BY vendor, account, endpoint, metric, unit, breakdown, kind
ORDER BY breakdown <> '', vendor, account, metric, kind, breakdown;
