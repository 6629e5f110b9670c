"""What pages show, as SQL."""
