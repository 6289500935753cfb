-- one row: the metrics that something is entitled of, and the breakdowns that stand for a missing total of theirs
WITH entitled AS (
    SELECT vendor, account, metric FROM lake.entitlements
    UNION
    SELECT vendor, account, metric FROM lake.held WHERE role = 'entitled' AND breakdown = ''
),
months AS (
    SELECT
        vendor, account, metric, unit, month, breakdown, min(first_seen) AS first_seen, max(last_seen) AS last_seen
    FROM lake.held
    WHERE role = 'consumed' AND aggregation IN ('sum', 'last') AND temporality <> 'rolling'
    GROUP BY ALL
),
-- Parts of days before or after those that the total is told of.
untotalled AS (
    SELECT DISTINCT parts.breakdown
    FROM months AS parts
    SEMI JOIN entitled USING (vendor, account, metric)
    LEFT JOIN months AS total
        ON total.vendor = parts.vendor AND total.account = parts.account AND total.metric = parts.metric
        AND total.unit = parts.unit AND total.month = parts.month AND total.breakdown = ''
    WHERE parts.breakdown <> ''
        AND (total.month IS NULL OR total.first_seen > parts.first_seen OR total.last_seen < parts.last_seen)
)
SELECT
    (SELECT list(DISTINCT metric ORDER BY metric) FROM entitled) AS metrics,
    (SELECT list(breakdown ORDER BY breakdown) FROM untotalled) AS breakdowns;
