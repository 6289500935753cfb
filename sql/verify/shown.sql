-- one row per table: how many rows the warehouse shows of it
SELECT 'usage' AS name, count(*) AS rows FROM lake.usage
UNION ALL
SELECT 'coverage', count(*) FROM lake.coverage
UNION ALL
SELECT 'billing_periods', count(*) FROM lake.billing_periods
UNION ALL
SELECT 'inventory', count(*) FROM lake.inventory
UNION ALL
SELECT 'metrics', count(*) FROM lake.metrics
UNION ALL
SELECT 'accounts', count(*) FROM lake.accounts
UNION ALL
SELECT 'entitlements', count(*) FROM lake.entitlements
UNION ALL
SELECT 'prices', count(*) FROM lake.prices
UNION ALL
SELECT 'restatements', count(*) FROM lake.restatements;
