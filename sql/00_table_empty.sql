-- $grain; nothing was written yet
CREATE OR REPLACE VIEW lake.$name AS SELECT $columns WHERE false;
