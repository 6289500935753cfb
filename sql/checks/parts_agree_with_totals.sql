-- one row per period since `$lately` whose parts do not add up to the total, by the agreements in `$agreements`
WITH agreements AS (
    SELECT unnest($agreements, recursive := true)
),
totals AS (
    SELECT
        total, part, period_start, period_end, temporality, usage_date, value, response_id, is_final,
        CAST([map_extract(dimensions, name)[1] FOR name IN string_split("by", '+')] AS VARCHAR) AS of_what
    FROM lake.usage
    JOIN agreements ON usage.endpoint = agreements.endpoint AND metric = total AND breakdown = "by"
    WHERE vendor = $vendor AND account = $account AND role = 'consumed' AND usage_date >= $lately
),
parts AS (
    SELECT
        total, part, period_start, period_end, temporality, breakdown,
        CAST([map_extract(dimensions, name)[1] FOR name IN string_split("by", '+')] AS VARCHAR) AS of_what,
        sum(value) AS value, count(*) AS rows, bool_and(is_final) AS is_final, list(DISTINCT response_id) AS response_ids
    FROM lake.usage
    -- Several metrics are parts as they are, one metric is where it is split further.
    JOIN agreements ON list_contains(string_split(part, '+'), metric) AND (breakdown = "by") = (part <> total)
    WHERE
        vendor = $vendor AND account = $account AND usage.endpoint = $endpoint
        AND role = 'consumed' AND usage_date >= $lately
    GROUP BY ALL
    HAVING part = total OR count(DISTINCT metric) = len(string_split(part, '+'))
)
SELECT
    usage_date, total AS metric, of_what, totals.value AS total, parts.value AS sum_of_parts,
    totals.value - parts.value AS difference, part AS parts, breakdown, rows, temporality, period_start, period_end
FROM totals
JOIN parts USING (total, part, period_start, period_end, temporality, of_what)
WHERE
    -- The vendor writes fractions as doubles.
    abs(totals.value - parts.value) > 0.01
    -- What was asked at different times may differ until it is final.
    AND (response_ids = [response_id] OR (totals.is_final AND parts.is_final))
ORDER BY usage_date DESC, metric, breakdown, of_what;
