-- one row per series and period, and per observation where the vendor tells only the present
CREATE VIEW usage AS
SELECT
    *,
    map_extract(dimensions, 'project')[1] AS project,
    map_extract(dimensions, 'environment')[1] AS environment,
    map_extract(dimensions, 'namespace')[1] AS namespace,
    map_extract(dimensions, 'datacenter')[1] AS datacenter,
    map_extract(dimensions, 'account_group')[1] AS account_group,
    map_extract(dimensions, 'test')[1] AS test,
    map_extract(dimensions, 'agent')[1] AS agent
FROM lake.usage;
COMMENT ON COLUMN usage.project IS 'The dimension project; NULL where the series has none';
COMMENT ON COLUMN usage.environment IS 'The dimension environment; NULL where the series has none';
COMMENT ON COLUMN usage.namespace IS 'The dimension namespace; NULL where the series has none';
COMMENT ON COLUMN usage.datacenter IS 'The dimension datacenter; NULL where the series has none';
COMMENT ON COLUMN usage.account_group IS 'The dimension account_group; NULL where the series has none';
COMMENT ON COLUMN usage.test IS 'The dimension test; NULL where the series has none';
COMMENT ON COLUMN usage.agent IS 'The dimension agent; NULL where the series has none';
