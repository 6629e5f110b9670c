"""What each kind of tools does."""
