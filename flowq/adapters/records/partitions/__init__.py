"""The large tables, partitioned by month; only on PostgreSQL, and only if the operator wants it."""
