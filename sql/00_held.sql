-- one row per file of usage and way of counting in it: what is there, so that nobody reads 50 million rows to learn it
CREATE TABLE IF NOT EXISTS lake.held (
    file VARCHAR, vendor VARCHAR, month VARCHAR, account VARCHAR, endpoint VARCHAR, metric VARCHAR, role VARCHAR,
    aggregation VARCHAR, temporality VARCHAR, unit VARCHAR, breakdown VARCHAR,
    first_seen DATE, last_seen DATE, observed_until TIMESTAMP WITH TIME ZONE
);
COMMENT ON TABLE lake.held IS 'one row per file of usage and way of counting in it: which days it holds';
COMMENT ON COLUMN lake.held.file IS 'The file of the table';
COMMENT ON COLUMN lake.held.vendor IS 'Vendor slug';
COMMENT ON COLUMN lake.held.month IS 'UTC month of usage_date, YYYY-MM';
COMMENT ON COLUMN lake.held.account IS 'Name of the configured account';
COMMENT ON COLUMN lake.held.endpoint IS 'Slug of the vendor''s usage endpoint';
COMMENT ON COLUMN lake.held.metric IS 'What is counted';
COMMENT ON COLUMN lake.held.role IS 'consumed, entitled or projected';
COMMENT ON COLUMN lake.held.aggregation IS 'How a value sums up its period';
COMMENT ON COLUMN lake.held.temporality IS 'How periods of one series relate';
COMMENT ON COLUMN lake.held.unit IS 'Unit in FOCUS format';
COMMENT ON COLUMN lake.held.breakdown IS 'Empty for the account''s total, else the dimensions that split it';
COMMENT ON COLUMN lake.held.first_seen IS 'First usage_date';
COMMENT ON COLUMN lake.held.last_seen IS 'Last usage_date';
COMMENT ON COLUMN lake.held.observed_until IS 'Newest observed_at';
CREATE OR REPLACE VIEW lake.told_daily AS
SELECT vendor, account, endpoint, metric, unit, breakdown, min(first_seen) AS since
FROM lake.held
WHERE role = 'consumed' AND aggregation = 'sum' AND temporality = 'delta'
GROUP BY ALL;
COMMENT ON VIEW lake.told_daily IS 'one row per account, endpoint, metric, unit and breakdown that is told day by day, with the first day';
COMMENT ON COLUMN lake.told_daily.vendor IS 'Vendor slug';
COMMENT ON COLUMN lake.told_daily.account IS 'Name of the configured account';
COMMENT ON COLUMN lake.told_daily.endpoint IS 'Slug of the vendor''s usage endpoint';
COMMENT ON COLUMN lake.told_daily.metric IS 'What is counted';
COMMENT ON COLUMN lake.told_daily.unit IS 'Unit in FOCUS format';
COMMENT ON COLUMN lake.told_daily.breakdown IS 'Empty for the account''s total, else the dimensions that split it';
COMMENT ON COLUMN lake.told_daily.since IS 'First UTC day with an amount of its own';
