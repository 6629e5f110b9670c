"""Step types: how they are declared and found, and what runs row-wise ones."""
