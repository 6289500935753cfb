-- Which vendors and metrics are there?
SELECT vendor, metric, string_agg(DISTINCT role, ', ' ORDER BY role) AS roles, any_value(unit) AS unit, min(first_seen) AS first_seen, max(last_seen) AS last_seen
FROM metrics
WHERE first_seen IS NOT NULL
GROUP BY vendor, metric
ORDER BY vendor, metric;
