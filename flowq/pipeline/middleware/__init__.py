"""The five middlewares of pipelines.

In the recommended order, the outermost first:

    Monitoring    sees everything, cache hits too
    Caching       a hit is neither repeated nor counted
    Retry         repeats what is inside of it: each attempt is validated and counted
    Validation    refuses before anything is counted or run
    RateLimiting  counts each attempt that really runs

Each is a frozen value. In a durable program the same code runs: what touches the world goes
through steps (`recall`, `keep`, `turn`), and waits are sleeps of the program.
"""
