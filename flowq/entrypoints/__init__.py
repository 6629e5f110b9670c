"""The world calls us: workers and the command line."""
