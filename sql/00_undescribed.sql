-- one row per column of a view that says nothing itself, with what the column of the same name says elsewhere: in its own table, in usage, in any
WITH columns AS (
    SELECT schema_name, table_name, column_name, column_index, comment
    FROM duckdb_columns()
    WHERE database_name = current_database()
)
SELECT
    silent.table_name, silent.column_name,
    arg_min(told.comment, (told.table_name <> silent.table_name, told.table_name <> 'usage', told.table_name)) AS comment
FROM columns AS silent
JOIN columns AS told USING (column_name)
WHERE silent.schema_name = 'main' AND silent.comment IS NULL AND told.comment IS NOT NULL
GROUP BY silent.table_name, silent.column_name, silent.column_index
ORDER BY silent.table_name, silent.column_index;
