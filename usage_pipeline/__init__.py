"""Getting what vendors say you used into one table that can be trusted."""
