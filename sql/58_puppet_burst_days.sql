-- one row per account and UTC day on which Puppet counted more nodes than the licence holds
CREATE VIEW puppet_burst_days AS
SELECT
    account,
    usage_date,
    strftime(usage_date, '%Y-%m') AS month,
    value AS nodes,
    quantity AS entitled,
    value - quantity AS over,
    row_number() OVER one_month AS burst_of_month,
    burst_of_month <= 4 AND value <= 2 * quantity AS within_terms,
    is_final
FROM usage_daily
JOIN entitlements USING (vendor, account, metric)
WHERE vendor = 'puppet' AND metric = 'nodes' AND breakdown = '' AND value > quantity
    AND usage_date >= valid_from AND (valid_to IS NULL OR usage_date <= valid_to)
WINDOW one_month AS (PARTITION BY account, strftime(usage_date, '%Y-%m') ORDER BY usage_date);
COMMENT ON COLUMN puppet_burst_days.nodes IS 'Nodes in use on the day';
COMMENT ON COLUMN puppet_burst_days.entitled IS 'Nodes that the licence holds, from entitlements in accounts.yaml';
COMMENT ON COLUMN puppet_burst_days.over IS 'Nodes beyond the licence';
COMMENT ON COLUMN puppet_burst_days.burst_of_month IS 'The how many-th burst day of its UTC month it is';
COMMENT ON COLUMN puppet_burst_days.within_terms IS 'Whether the terms allow it: at most four such days a month, never more than double the licence';
