"""What the edges that ship do: each module is imported when one of its edges runs."""
