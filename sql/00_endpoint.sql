-- $grain
CREATE VIEW "$view" AS
SELECT
    * EXCLUDE (dimensions, labels)$members
FROM lake.usage
WHERE vendor = '$vendor' AND endpoint = '$endpoint';
