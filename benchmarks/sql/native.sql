-- DuckDB's own table in place of the view over files
SET preserve_insertion_order = true;
DROP VIEW lake.usage;
CREATE TABLE lake.usage AS SELECT * FROM published.lake.usage;
