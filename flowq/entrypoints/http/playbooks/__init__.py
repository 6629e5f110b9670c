"""The routes of playbooks."""
