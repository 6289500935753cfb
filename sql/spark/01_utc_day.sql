-- the UTC day of an instant, whatever the time zone of the session
CREATE OR REPLACE TEMPORARY FUNCTION utc_day(instant TIMESTAMP) RETURNS DATE
RETURN CAST(to_utc_timestamp(instant, current_timezone()) AS DATE);
