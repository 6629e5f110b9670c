"""What must hold for all rows; checked by doctor and after tests."""
