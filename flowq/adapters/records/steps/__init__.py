"""Step rows: claims, completions, and what an advance reads and writes."""
