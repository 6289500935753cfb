-- one row per configured account and endpoint
CREATE VIEW accounts AS SELECT * FROM lake.accounts;
