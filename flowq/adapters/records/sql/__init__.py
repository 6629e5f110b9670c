"""Tables, column types, prepared statements: what all other rooms are written with."""
