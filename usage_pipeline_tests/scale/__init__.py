"""More than one machine: other engines on the table, and many accounts."""
