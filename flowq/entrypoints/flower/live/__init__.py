"""Live updates of open pages: one reader of events for many browsers."""
