-- one row per day: one part of one account over three years
SELECT usage_date, value
FROM usage
WHERE series_id = (
    SELECT min(series_id) FROM usage
    WHERE month = '2024-05' AND vendor = 'launchdarkly' AND metric = 'total_mau' AND breakdown = 'environment+project'
)
ORDER BY usage_date;
