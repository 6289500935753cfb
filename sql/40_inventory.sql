-- one row per account, endpoint and item of an answer that holds no number
CREATE VIEW inventory AS SELECT * FROM lake.inventory;
