"""How workflows are executed: as recorded runs of one durable program, here or on workers."""
