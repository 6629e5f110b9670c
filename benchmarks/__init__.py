"""`make bench`: flowq beside plain Celery, on the same broker, pool and number of workers, in one run."""
