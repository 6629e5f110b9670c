"""Where results lie: Redis for small ones, an object store for large ones, memory for tests."""
