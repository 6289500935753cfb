-- How many ThousandEyes cloud units were used on each of the last seven days? (The vendor tells only a running total.)
SELECT usage_date, value AS cloud_units, derivation, days_covered, is_final
FROM usage_daily
WHERE metric = 'cloud_units' AND breakdown = ''
ORDER BY usage_date DESC
LIMIT 7;
