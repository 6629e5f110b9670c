"""Access to URLs that users, feeds or models have given.

fetch   fetches a URL, by the rules for addresses, within a size and a time
feeds   the items of an RSS or Atom feed, parsed in a process of its own
markup  HTML and links as plain text and safe addresses
"""
