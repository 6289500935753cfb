-- one row: what the views of a published file were made from
SELECT lake.made_from();
