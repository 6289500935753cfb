-- How many billable Consul service instances does each datacenter hold, by its newest answer?
SELECT account, datacenter, value AS billable_instances, observed_at
FROM usage_daily
WHERE metric = 'billable_service_instances' AND breakdown = 'datacenter'
QUALIFY row_number() OVER (PARTITION BY account, datacenter ORDER BY usage_date DESC) = 1
ORDER BY account, datacenter;
