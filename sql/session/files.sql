-- one row: the files that the views are made of; NULL where nothing was written yet
SELECT getvariable('files') AS files;
