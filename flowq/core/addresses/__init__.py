"""URLs of settings and of users: read, checked, and shown without passwords."""
