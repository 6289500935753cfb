-- one row per account, metric and period of three years with an entitlement
SELECT * FROM utilization;
