-- what a view, a column or a macro says
COMMENT ON $kind $name IS '$text';
