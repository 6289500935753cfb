-- $grain; nothing was written yet
CREATE VIEW lake.$name AS SELECT $columns WHERE false;
