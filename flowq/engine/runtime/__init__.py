"""What one worker process holds: threads, leases, caches, the context of the code that runs."""
