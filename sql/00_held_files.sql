-- one row per file that is described
SELECT DISTINCT file FROM lake.held;
