"""What flowq's own edge types do; each module is imported when one of its edges runs."""
