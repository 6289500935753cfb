-- The schema that holds the lake's tables as they are, one view a table.
CREATE SCHEMA IF NOT EXISTS lake;
