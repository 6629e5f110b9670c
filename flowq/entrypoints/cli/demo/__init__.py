"""`flowq demo`: what it plays, and the processes that it starts and stops."""
