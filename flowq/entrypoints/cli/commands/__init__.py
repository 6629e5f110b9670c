"""The commands, with their options: a module for each, or for each group of them.

Help is printed from these modules, so they import nothing that is slow to load: what a command
works with is imported where it runs.
"""
