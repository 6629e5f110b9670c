"""What decorators and classes make: step types and flows."""
