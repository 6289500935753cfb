-- one row per vendor, endpoint, metric, role, aggregation and temporality that can be in usage
CREATE VIEW metrics AS
SELECT declared.*, seen.first_seen, seen.last_seen
FROM lake.metrics AS declared
LEFT JOIN (
    SELECT
        vendor, endpoint, metric, role, aggregation, temporality,
        min(usage_date) AS first_seen, max(usage_date) AS last_seen
    FROM lake.usage
    GROUP BY ALL
) AS seen USING (vendor, endpoint, metric, role, aggregation, temporality);
