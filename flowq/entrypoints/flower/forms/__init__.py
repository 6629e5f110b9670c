"""Forms that are made from a JSON schema: fields of a page, and what is typed into them."""
