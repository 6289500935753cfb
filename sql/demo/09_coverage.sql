-- Which days are known, which are not, and why?
SELECT account, endpoint, state, count(*) AS days, min(usage_date) AS first, max(usage_date) AS last, max(reason) AS reason
FROM coverage
GROUP BY account, endpoint, state
ORDER BY account, endpoint, state;
