-- one row per vendor and month: rows of the view `usage`, and the sum of their values
SELECT vendor, month, count(*) AS rows, sum(value) AS total
FROM usage
GROUP BY vendor, month;
