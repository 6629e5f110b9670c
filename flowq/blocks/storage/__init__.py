"""Where the content of a block lies: inside the block, or in chunks in the object store."""
