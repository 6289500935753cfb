-- so many months
CREATE OR REPLACE TEMPORARY FUNCTION to_months(months INT) RETURNS INTERVAL MONTH
RETURN make_ym_interval(0, months);
