-- one row per priced series, UTC day and price tier: what the price book says that the day's consumption costs
CREATE VIEW cost_daily AS
WITH book AS (
    SELECT *, lead(tier_from) OVER (PARTITION BY sku, valid_from ORDER BY tier_from) AS tier_to
    FROM prices
),
daily AS (
    SELECT
        *,
        -- What a count of the month to date has grown by: its days add up to the month's count.
        value - coalesce(lag(value) OVER of_month, 0) AS growth,
        CAST(usage_date - lag(usage_date) OVER of_month AS INTEGER) AS grown_in
    FROM usage_daily
    WINDOW of_month AS (PARTITION BY series_id, covers_from ORDER BY usage_date)
),
-- Once a series and day: the tiers come later. What is a level of the day, what an amount, the price says.
priced AS (
    SELECT
        daily.* EXCLUDE (value, days_covered, growth, grown_in),
        book.sku, book.valid_from, book.basis, book.currency,
        CASE WHEN book.basis = 'count of month' THEN daily.growth ELSE daily.value END AS amount,
        CASE book.basis
            WHEN 'amount' THEN daily.days_covered
            WHEN 'count of month' THEN coalesce(daily.grown_in, daily.days_covered)
            ELSE 1
        END AS days_covered
    FROM daily
    JOIN book
        ON daily.vendor = book.vendor AND daily.endpoint = book.endpoint AND daily.metric = book.metric
        AND daily.breakdown = book.breakdown AND (book.account IS NULL OR daily.account = book.account)
        AND daily.usage_date >= book.valid_from AND (book.valid_to IS NULL OR daily.usage_date <= book.valid_to)
        AND book.tier_from = 0
    WHERE list_has_all(map_entries(daily.dimensions), map_entries(book.dimensions))
        AND CASE book.basis
            WHEN 'amount' THEN daily.aggregation = 'sum' AND daily.derivation <> 'last_reading'
            ELSE daily.aggregation <> 'sum' AND daily.temporality = book.temporality
        END
),
-- The billing month that a day lies in, else its calendar month; a count of the month is of its own.
months AS (
    SELECT
        priced.*,
        coalesce(utc_day(billing_months.period_end) > usage_date, false)
        AND (basis <> 'count of month' OR billing_months.period_start = covers_from) AS is_billed,
        CASE WHEN is_billed THEN billing_months.period_start
            WHEN basis = 'count of month' THEN covers_from
            ELSE CAST(date_trunc('month', usage_date) AS TIMESTAMP) AT TIME ZONE 'UTC'
        END AS month_start,
        CASE WHEN is_billed THEN billing_months.period_end
            ELSE (month_start AT TIME ZONE 'UTC' + INTERVAL 1 MONTH) AT TIME ZONE 'UTC'
        END AS month_end
    FROM priced
    ASOF LEFT JOIN billing_months
        ON priced.vendor = billing_months.vendor AND priced.account = billing_months.account
        AND priced.usage_date >= utc_day(billing_months.period_start)
),
-- Where the day's consumption begins and ends in what the tiers count: the sku's month to date, or the level of the day.
placed AS (
    SELECT
        * EXCLUDE (is_billed, is_final),
        sum(amount) OVER so_far AS after,
        after - amount AS before,
        bool_and(is_final) OVER to_date AS is_final
    FROM months
    WINDOW
        so_far AS (
            PARTITION BY vendor, account, sku, month_start, CASE WHEN basis IN ('day', 'share of month') THEN usage_date END
            ORDER BY usage_date, series_id ROWS UNBOUNDED PRECEDING
        ),
        to_date AS (PARTITION BY vendor, account, sku, month_start ORDER BY usage_date)
),
-- A tier has what lies between its bounds after the day, less what lay there before; the first has what is below 0 too,
-- and the last no end: least and greatest leave NULL out.
split AS (
    SELECT
        placed.*, book.tier_from, book.tier_to, book.unit_price,
        greatest(least(after, book.tier_to), nullif(book.tier_from, 0))
        - greatest(least(before, book.tier_to), nullif(book.tier_from, 0)) AS quantity
    FROM placed
    JOIN book USING (sku, valid_from)
    WHERE quantity <> 0
        OR (amount = 0 AND greatest(after, 0) >= book.tier_from AND (book.tier_to IS NULL OR greatest(after, 0) < book.tier_to))
),
-- A level is held for a day of the month. It is the month to date that is rounded, not the day, so that a whole month of
-- one level adds up to the level.
held AS (
    SELECT
        *,
        quotient(sum(quantity) OVER to_date, utc_day(month_end) - utc_day(month_start)) AS held
    FROM split
    WINDOW to_date AS (
        PARTITION BY series_id, sku, valid_from, tier_from, month_start ORDER BY usage_date ROWS UNBOUNDED PRECEDING
    )
),
quantities AS (
    SELECT
        *,
        CAST(CASE
            WHEN basis = 'share of month' THEN held - coalesce(lag(held) OVER to_date, 0)
            ELSE quantity
        END AS DECIMAL(38, 9)) AS pricing_quantity
    FROM held
    WINDOW to_date AS (PARTITION BY series_id, sku, valid_from, tier_from, month_start ORDER BY usage_date)
)
SELECT
    vendor, account, endpoint, metric, unit, breakdown, dimensions, labels, series_id, usage_date, days_covered,
    month_start AS period_start, month_end AS period_end,
    sku, valid_from, tier_from, CAST(quantity AS DECIMAL(38, 9)) AS quantity, pricing_quantity,
    CASE basis
        WHEN 'day' THEN regexp_replace(unit, 's$', '') || '-Days'
        WHEN 'share of month' THEN regexp_replace(unit, 's$', '') || '-Months'
        ELSE unit
    END AS pricing_unit,
    unit_price, pricing_quantity * unit_price AS cost, currency, is_final
FROM quantities;
COMMENT ON COLUMN cost_daily.period_start IS 'Start of the billing month, or of the calendar month where the account has none; inclusive';
COMMENT ON COLUMN cost_daily.period_end IS 'End of that month, exclusive';
COMMENT ON COLUMN cost_daily.days_covered IS 'UTC days that the cost is of, the last of them usage_date';
COMMENT ON COLUMN cost_daily.sku IS 'The price, as the price book names it';
COMMENT ON COLUMN cost_daily.valid_from IS 'First UTC day of the price';
COMMENT ON COLUMN cost_daily.tier_from IS 'Where the tier begins: in the month''s quantity to date, or in the day''s level';
COMMENT ON COLUMN cost_daily.quantity IS 'What the day consumed within the tier; of a count of the month, what it grew by';
COMMENT ON COLUMN cost_daily.pricing_quantity IS 'The same in pricing_unit; negative where the vendor took back what it had counted';
COMMENT ON COLUMN cost_daily.pricing_unit IS 'What unit_price is the price of, in FOCUS format: Events, Node-Days, Node-Months';
COMMENT ON COLUMN cost_daily.unit_price IS 'Price of one unit within the tier; 0 for what is included';
COMMENT ON COLUMN cost_daily.cost IS 'pricing_quantity * unit_price, exactly';
COMMENT ON COLUMN cost_daily.currency IS 'ISO 4217 code: costs add up within one currency only';
COMMENT ON COLUMN cost_daily.is_final IS 'Neither the day nor one before it in its month may still change';
