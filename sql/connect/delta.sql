-- What attaches the Delta table of usage: its newest snapshot, with every query.
INSTALL delta;
LOAD delta;
ATTACH '$table' AS usage (TYPE delta);
