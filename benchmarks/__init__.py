"""`make bench`: flowq beside plain Celery, in one run: same broker, pool and number of workers."""
