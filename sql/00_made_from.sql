-- what the views of this file were made from
CREATE MACRO lake.made_from() AS '$fingerprint';
