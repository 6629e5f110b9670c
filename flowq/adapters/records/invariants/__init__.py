"""What must hold of all rows; asked by doctor and after tests."""
