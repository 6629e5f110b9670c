"""The commands of `flowq playbook`."""
