"""The language as tables of shapes: what is checked, and what an editor is told."""
