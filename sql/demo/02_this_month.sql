-- What was consumed in the newest month so far, each measure by its own rule? (Totals; parts are left out.)
SELECT vendor, metric, unit, value, rule, days_known, days_in_period, is_final
FROM usage_monthly
WHERE calendar = 'calendar' AND breakdown = '' AND period_start = (SELECT max(period_start) FROM usage_monthly WHERE calendar = 'calendar')
ORDER BY vendor, metric, temporality;
