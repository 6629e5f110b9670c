"""What pages show while a run moves: one reader of events for many browsers."""
