"""Tables, column types, prepared statements: used by all other folders."""
