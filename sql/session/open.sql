-- The warehouse, read-only, and the names of the files that its views are made of.
ATTACH '$file' AS warehouse (READ_ONLY);
USE warehouse;
SET TimeZone = 'UTC';
SET temp_directory = '$file.tmp';
SET VARIABLE files = (
    SELECT list(DISTINCT replace(file, '''''', ''''))
    FROM (
        SELECT unnest(regexp_extract_all(sql, '''((?:[^'']|'''')+\.parquet)''', 1)) AS file
        FROM duckdb_views() WHERE database_name = 'warehouse' AND schema_name = 'lake'
    )
);
