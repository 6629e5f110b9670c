"""Templates in documents: Jinja, closed so far that foreign authors may write them.

views      values that a template reads and that are loaded when they are needed
errors     what is wrong with a template, and what failed when it was rendered
filters    the filters and methods that exist, with the sizes that they may make
sandbox    the environment: what can be read, called and computed
text       compiled texts and expressions
"""
