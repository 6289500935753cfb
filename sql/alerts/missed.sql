-- one row per account and endpoint of `$expected` that lacks days which were due: how many, between which, and the state and reason of the newest
WITH expected AS (
    SELECT unnest($expected, recursive := true)
),
late AS (
    SELECT
        account, endpoint, state, reason,
        CAST(unnest(range(first_day, CAST(least(last_day, known_by) + 1 AS TIMESTAMP), INTERVAL 1 DAY)) AS DATE) AS usage_date
    FROM coverage_gaps
    JOIN expected USING (account, endpoint)
    WHERE history = 'window' AND can_be_asked
    UNION ALL
    -- What was not captured is lost: only the last day is news. What a vendor does not tell has a reason of its own.
    SELECT account, endpoint, state, reason, known_by AS usage_date
    FROM coverage_gaps
    JOIN expected USING (account, endpoint)
    WHERE
        history = 'snapshot' AND known_by BETWEEN first_day AND last_day
        AND (state = 'failed' OR reason IN ('', $not_captured))
    UNION ALL
    -- Had these days been asked for again, they would be settled.
    SELECT account, endpoint, state, reason, usage_date
    FROM coverage
    JOIN expected USING (account, endpoint)
    WHERE history = 'window' AND state = 'provisional' AND usage_date BETWEEN start_date AND final_by
)
SELECT
    account, endpoint,
    CAST(count(*) AS INTEGER) AS days,
    min(usage_date) AS first_day, max(usage_date) AS last_day,
    arg_max(state, usage_date) AS state, arg_max(reason, usage_date) AS reason
FROM late
GROUP BY account, endpoint
ORDER BY account, endpoint;
