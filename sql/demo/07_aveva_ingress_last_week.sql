-- How many events were written to AVEVA Data Hub on each of the last seven days, and in which namespaces?
SELECT
    usage_date,
    sum(value) FILTER (breakdown = '') AS ingress_events,
    string_agg(dimensions['namespace'] || ': ' || CAST(value AS BIGINT), ', ' ORDER BY dimensions['namespace'])
        FILTER (breakdown = 'namespace') AS by_namespace,
    bool_and(is_final) AS is_final
FROM usage
WHERE vendor = 'aveva' AND metric = 'ingress_events' AND period_end <= fetched_at
GROUP BY usage_date
ORDER BY usage_date DESC
LIMIT 7;
