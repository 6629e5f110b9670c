"""What steps that ship use of the world beside models: URLs, databases, code, secrets.

fetch   fetches a URL, by the rules for addresses, within a size and a time
feeds   the items of an RSS or Atom feed, parsed in a process of its own
markup  HTML and links as plain text and safe addresses
text    templates in documents
sql     statements of documents on databases
python_code  code of documents, in a process of its own
secrets      credentials by name, handles, masking
"""
