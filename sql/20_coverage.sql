-- one row per account, endpoint and UTC day: what is known of it, and what is not
CREATE VIEW coverage AS SELECT * FROM lake.coverage;
