-- the amount that a vendor's metric sums up to over UTC days, both inclusive; an error that says why where there is no such sum
CREATE MACRO usage_total(
    of_vendor, of_metric, first_day, last_day, of_account := NULL, of_endpoint := NULL, of_breakdown := NULL
) AS (
    WITH span AS (
        SELECT CAST(first_day AS DATE) AS since, CAST(last_day AS DATE) AS until
    ),
    asked AS (
        SELECT *, usage_date - days_covered + 1 AS from_day
        FROM usage_daily
        WHERE vendor = of_vendor AND metric = of_metric
            AND (of_account IS NULL OR account = of_account)
            AND (of_endpoint IS NULL OR endpoint = of_endpoint)
            AND (of_breakdown IS NULL OR breakdown = of_breakdown)
    ),
    amounts AS (
        SELECT asked.*
        FROM asked, span
        WHERE aggregation = 'sum' AND temporality <> 'rolling' AND usage_date >= span.since AND from_day <= span.until
    ),
    -- Of each account the total; where no total is told, the parts of the shortest breakdown.
    ranked AS (
        SELECT *, dense_rank() OVER (PARTITION BY account ORDER BY split_depth(breakdown), breakdown) AS choice FROM amounts
    ),
    chosen AS (
        SELECT * FROM ranked WHERE choice = 1
    ),
    days AS (
        SELECT CAST(unnest(range(span.since, span.until + 1, INTERVAL 1 DAY)) AS DATE) AS usage_date FROM span
    ),
    -- A day without an amount is a day without use where the vendor answered, and told it in no other way.
    silent AS (
        SELECT account, usage_date
        FROM coverage
        SEMI JOIN asked USING (vendor, account, endpoint)
        ANTI JOIN (SELECT account, usage_date FROM ranked WHERE choice > 1) AS otherwise USING (account, usage_date)
        WHERE state IN ('complete', 'provisional', 'empty')
    ),
    known AS (
        SELECT account, usage_date FROM silent
        UNION
        SELECT account, CAST(unnest(range(from_day, usage_date + 1, INTERVAL 1 DAY)) AS DATE) FROM chosen
    ),
    unknown AS (
        SELECT account, usage_date
        FROM (SELECT DISTINCT account FROM asked)
        CROSS JOIN days
        ANTI JOIN known USING (account, usage_date)
    ),
    -- Amounts of days within the range and of days outside it, which cannot be told apart.
    torn AS (
        SELECT from_day, usage_date
        FROM chosen, span
        WHERE from_day < span.since OR usage_date > span.until
    )
    SELECT CASE
        WHEN (SELECT until < since FROM span) THEN error('usage_total: the last day is before the first')
        WHEN (SELECT count(*) FROM asked) = 0 THEN error(
            'usage_total: nothing is known of metric ' || coalesce(of_metric, 'NULL') || ' of vendor ' || coalesce(of_vendor, 'NULL')
            || ' in that account, endpoint and breakdown; known are: '
            || coalesce((SELECT string_agg(DISTINCT vendor || ' ' || metric, ', ' ORDER BY vendor || ' ' || metric) FROM usage_daily), 'none')
        )
        WHEN (SELECT count(*) FROM asked WHERE aggregation = 'sum' AND temporality <> 'rolling') = 0 THEN error(
            'usage_total: ' || of_metric || ' does not add up over days: it is told as '
            || (SELECT string_agg(DISTINCT CASE
                WHEN temporality = 'rolling' THEN 'a trailing window'
                WHEN aggregation = 'distinct' THEN 'a count of distinct things'
                WHEN aggregation = 'max' THEN 'a peak'
                WHEN aggregation = 'average' THEN 'an average'
                ELSE 'a level' END, ' and ') FROM asked)
            || CASE WHEN (SELECT bool_or(aggregation = 'distinct') FROM asked) THEN ', and distinct counts do not add' ELSE '' END
            || '; ask usage_monthly or usage_daily for it'
        )
        WHEN (SELECT count(DISTINCT unit) FROM chosen) > 1 THEN error(
            'usage_total: ' || of_metric || ' is told in several units, which do not add: '
            || (SELECT string_agg(DISTINCT unit, ', ' ORDER BY unit) FROM chosen)
        )
        WHEN (SELECT count(*) FROM (SELECT account FROM chosen GROUP BY account HAVING count(DISTINCT endpoint) > 1)) > 0 THEN error(
            'usage_total: ' || of_metric || ' is told by several endpoints, and adding them would count it twice; name one as of_endpoint: '
            || (SELECT string_agg(DISTINCT endpoint, ', ' ORDER BY endpoint) FROM chosen)
        )
        WHEN (SELECT count(*) FROM unknown) > 0 THEN error(
            'usage_total: ' || (SELECT count(DISTINCT usage_date) FROM unknown) || ' of the '
            || (SELECT count(*) FROM days) || ' days are not known, such as ' || (SELECT min(usage_date) FROM unknown) || ' of '
            || (SELECT arg_min(account, usage_date) FROM unknown) || '; see coverage_gaps, or ask for other days'
        )
        WHEN (SELECT count(*) FROM torn) > 0 THEN error(
            'usage_total: between two readings days were missed, so that ' || (SELECT min(from_day) FROM torn) || ' to '
            || (SELECT arg_min(usage_date, from_day) FROM torn)
            || ' are known as one amount only, which reaches beyond the days asked for; ask for all of them or none'
        )
        ELSE (SELECT coalesce(sum(value), 0) FROM chosen)
    END
);
