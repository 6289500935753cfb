-- Which rows can be weighed against an entitlement. Written out, so that files without such rows are not read.
CREATE OR REPLACE MACRO lake.is_weighed(metric, breakdown) AS metric IN ($metrics) AND breakdown IN ($breakdowns);
