-- one row per configured account and endpoint, as `expected` lists them: what of its days is known, and what is not
WITH days AS (
    SELECT vendor, account, endpoint, history, today, unnest(generate_series(first, today, INTERVAL 1 DAY))::DATE AS usage_date
    FROM expected
),
known AS (
    SELECT
        days.*,
        CASE
            WHEN coverage.state IS NOT NULL THEN coverage.state
            -- A day that nobody captured cannot be captured any more.
            WHEN history = 'snapshot' AND usage_date < today THEN 'not_available'
            ELSE 'gap'
        END AS state,
        coalesce(coverage.reason, '') AS reason
    FROM days
    LEFT JOIN coverage USING (vendor, account, endpoint, usage_date)
    -- Today is not over: for a window it is no gap.
    WHERE coverage.state IS NOT NULL OR usage_date < today OR history = 'snapshot'
),
labelled AS (
    SELECT *, CASE WHEN state = 'failed' OR (reason <> '' AND state <> 'not_available') THEN reason ELSE '' END AS why
    FROM known
),
islands AS (
    SELECT
        *,
        date_diff('day', DATE '1970-01-01', usage_date)
        - row_number() OVER (PARTITION BY vendor, account, endpoint, state, why ORDER BY usage_date) AS island
    FROM labelled
),
runs AS (
    SELECT
        vendor, account, endpoint, state, why, count(*) AS days, min(usage_date) AS first,
        CASE WHEN count(*) = 1 THEN '' || min(usage_date) ELSE min(usage_date) || ' to ' || max(usage_date) END AS span
    FROM islands
    GROUP BY vendor, account, endpoint, state, why, island
),
spans AS (
    SELECT
        vendor, account, endpoint, state, why, sum(days) AS days, min(first) AS first,
        string_agg(span, ', ' ORDER BY first) AS spans
    FROM runs
    GROUP BY vendor, account, endpoint, state, why
),
told AS (
    SELECT
        vendor, account, endpoint,
        string_agg(spans, ', ' ORDER BY first) FILTER (state = 'gap') AS gaps,
        CAST(sum(days) FILTER (state = 'provisional') AS BIGINT) AS provisional,
        string_agg(spans || ': ' || why, '; ' ORDER BY first) FILTER (state = 'failed' OR why <> '') AS failures,
        string_agg(spans, ', ' ORDER BY first) FILTER (state = 'not_available') AS not_available
    FROM spans
    GROUP BY vendor, account, endpoint
),
reached AS (
    SELECT
        vendor, account, endpoint,
        coalesce(
            (min(usage_date) FILTER (state IN ('gap', 'failed', 'provisional')) - INTERVAL 1 DAY)::DATE, max(usage_date)
        ) AS up_to,
        min(usage_date) FILTER (state IN ('complete', 'empty')) AS first_complete
    FROM known
    GROUP BY vendor, account, endpoint
)
SELECT
    expected.account,
    expected.endpoint,
    CASE WHEN first_complete <= up_to THEN up_to END AS complete_up_to,
    coalesce(gaps, '') AS gaps,
    coalesce(provisional, 0) AS provisional_days,
    coalesce(failures, '') AS failures,
    coalesce(not_available, '') AS not_available
FROM expected
LEFT JOIN told USING (vendor, account, endpoint)
LEFT JOIN reached USING (vendor, account, endpoint)
ORDER BY expected.account, expected.endpoint;
