-- total / parts to nine decimals, halves rounded away from zero: DuckDB divides decimals as floats, which hold 15 digits
CREATE MACRO quotient(total, parts) AS (
    CAST(trunc(total) AS HUGEINT) // parts
    + CAST(
        (
            2 * (
                CAST(trunc(total) AS HUGEINT) % parts * 1000000000
                + CAST(CAST(total - trunc(total) AS DECIMAL(18, 9)) * 1000000000 AS HUGEINT)
            ) + CAST(sign(total) AS HUGEINT) * parts
        ) // (2 * parts) AS DECIMAL(18, 0)
    ) * CAST(0.000000001 AS DECIMAL(10, 9))
);
