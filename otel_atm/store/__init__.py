"""The store: events go into a spool at once, from there into DuckDB, and out through a Reader."""
