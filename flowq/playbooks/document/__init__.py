"""The language of playbooks: read, checked, written, built in Python. Pure."""
