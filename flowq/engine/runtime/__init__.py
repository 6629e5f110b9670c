"""The state of one worker process: threads, leases, caches, the context of the running code."""
