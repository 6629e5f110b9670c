"""`python -m flowq.entrypoints.cli`, for where the program `flowq` is not on PATH."""

from flowq.entrypoints.cli.main import main

if __name__ == "__main__":
    main(prog_name="flowq")
