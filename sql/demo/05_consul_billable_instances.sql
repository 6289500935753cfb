-- How many billable Consul service instances does each datacenter hold, by its newest answer?
SELECT account, dimensions['datacenter'] AS datacenter, value AS billable_instances, observed_at
FROM usage
WHERE vendor = 'consul' AND metric = 'billable_service_instances' AND breakdown = 'datacenter'
QUALIFY row_number() OVER (PARTITION BY account, datacenter ORDER BY observed_at DESC) = 1
ORDER BY account, datacenter;
