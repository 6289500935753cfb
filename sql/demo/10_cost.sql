-- What does the usage cost by the price book, month by month?
SELECT vendor, account, CAST(period_start AS DATE) AS since, sum(cost) AS cost, currency, bool_and(is_final) AS is_final
FROM cost_daily
GROUP BY ALL
ORDER BY ALL;
