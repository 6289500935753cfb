-- How much of what is allowed is used, how much will it be, and when does it run out?
SELECT account, metric, CAST(period_start AS DATE) AS since, consumed, entitled, ratio, projected, exhausted_on, entitled_by
FROM utilization
WHERE period_end > (SELECT max(as_of) FROM utilization)
ORDER BY ratio DESC NULLS LAST;
