-- one row per vendor, endpoint, metric, role, aggregation and temporality that can be in usage
CREATE VIEW metrics AS
SELECT declared.*, seen.first_seen, seen.last_seen
FROM lake.metrics AS declared
LEFT JOIN (
    SELECT
        vendor, endpoint, metric, role, aggregation, temporality,
        min(first_seen) AS first_seen, max(last_seen) AS last_seen
    FROM lake.held
    GROUP BY ALL
) AS seen USING (vendor, endpoint, metric, role, aggregation, temporality);
