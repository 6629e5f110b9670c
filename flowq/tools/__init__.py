"""What steps that ship use of the world beside models: URLs that others have given.

fetch   what a URL answers, by the rules for addresses, within a size and a time
feeds   the items of an RSS or Atom feed, parsed apart from the worker
markup  HTML and links as plain text and safe addresses
"""
