-- What was consumed this month so far? (Amounts of days add up only where they are sums; parts are left out.)
SELECT vendor, account, metric, unit, sum(value) AS consumed, max(usage_date) AS up_to
FROM usage
WHERE role = 'consumed' AND aggregation = 'sum' AND temporality = 'delta' AND breakdown = ''
  AND month = (SELECT strftime(max(usage_date), '%Y-%m') FROM coverage)
GROUP BY vendor, account, metric, unit
ORDER BY vendor, account, metric;
