-- one row per series and period, and per observation where the vendor tells only the present
CREATE VIEW usage AS SELECT * FROM lake.usage;
