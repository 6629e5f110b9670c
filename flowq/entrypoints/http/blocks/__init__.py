"""The routes for documents of blocks and edges: v1, v2, and the contents of external blocks."""
