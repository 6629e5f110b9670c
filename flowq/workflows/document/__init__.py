"""The document: its fields, what its parts refer to, and what is wrong with it. Pure."""
