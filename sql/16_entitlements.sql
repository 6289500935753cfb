-- one row per configured account, metric and first day of what the contract allows, where no API tells it
CREATE VIEW entitlements AS SELECT * FROM lake.entitlements;
