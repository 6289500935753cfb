-- How many events were written to AVEVA Data Hub within the last week that is known? (A sum that made no sense would be refused.)
SELECT usage_total(
    'aveva', 'ingress_events',
    (SELECT greatest(min(usage_date), max(usage_date) - 6) FROM usage_daily WHERE metric = 'ingress_events'),
    (SELECT max(usage_date) FROM usage_daily WHERE metric = 'ingress_events')
) AS ingress_events;
