-- one row per account and billing period, as the vendor states it
CREATE VIEW billing_periods AS SELECT * FROM lake.billing_periods;
