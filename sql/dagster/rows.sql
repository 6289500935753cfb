SELECT *
FROM "$view"
WHERE account = '$account'
ORDER BY usage_date DESC;
