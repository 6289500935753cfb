-- Files that are new; a file never changes.
INSERT INTO lake.held
SELECT
    filename, vendor, month, account, endpoint, metric, role, aggregation, temporality, unit, breakdown,
    min(usage_date), max(usage_date), max(observed_at)
FROM read_parquet([$files], filename = true, hive_partitioning = true, hive_types_autocast = false)
GROUP BY ALL;
