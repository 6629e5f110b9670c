"""Where the content of a block is stored: inside the block, or in chunks in the object store."""
