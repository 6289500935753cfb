-- one row per view and macro, a view's followed by one per column: what it says; the views of single endpoints come last
WITH views AS (
    SELECT view_name AS name, '' AS "column", 'view' AS type, comment AS description, 0 AS position, view_name NOT IN (
        SELECT DISTINCT vendor || '_' || endpoint FROM metrics
    ) AS common
    FROM duckdb_views()
    WHERE NOT internal AND schema_name = 'main' AND database_name = current_database()
),
parts AS (
    SELECT table_name AS name, column_name AS "column", data_type AS type, comment AS description, column_index AS position, common
    FROM duckdb_columns()
    JOIN views ON views.name = table_name
    WHERE schema_name = 'main' AND database_name = current_database()
),
macros AS (
    SELECT
        function_name AS name, '' AS "column", 'macro' AS type,
        comment || ' (' || array_to_string(parameters, ', ') || ')' AS description, 0 AS position, true AS common
    FROM duckdb_functions()
    WHERE NOT internal AND schema_name = 'main' AND database_name = current_database()
)
SELECT name, "column", type, coalesce(description, '') AS description
FROM (FROM views UNION ALL BY NAME FROM parts UNION ALL BY NAME FROM macros)
WHERE $view IN ('', name)
ORDER BY common DESC, name, position;
