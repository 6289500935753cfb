-- $grain
CREATE OR REPLACE VIEW lake.$name AS
SELECT $columns
FROM read_parquet([$files], hive_partitioning = true, hive_types_autocast = false);
