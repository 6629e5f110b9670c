"""The command line, `flowq`.

main.py       every command with its options: the reference, and all that `--help` needs
run.py runs.py graph.py db.py doctor.py worker.py demo.py        what each command does
loading.py inputs.py environment.py                              what they stand on
live.py show.py tree.py output.py console.py                     what people see
"""
