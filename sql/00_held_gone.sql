-- Files that the table no longer has.
DELETE FROM lake.held WHERE file IN ($files);
