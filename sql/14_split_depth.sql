-- by how many dimensions a breakdown splits: 0 for the total
CREATE MACRO split_depth(breakdown) AS (
    CASE WHEN breakdown = '' THEN 0 ELSE 1 + length(breakdown) - length(replace(breakdown, '+', '')) END
);
