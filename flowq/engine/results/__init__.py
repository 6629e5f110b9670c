"""Results: values to bytes and back, and where the bytes are stored."""
