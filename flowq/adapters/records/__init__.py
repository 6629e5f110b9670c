"""The database: tables, repositories, migrations. The only place with SQL."""
