-- one row per price, first day of its validity and tier of it, as the price book says
CREATE VIEW prices AS SELECT * FROM lake.prices;
