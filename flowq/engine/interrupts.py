"""Exceptions that end an attempt from outside; every other one is a failure of its step.

A step may raise anything: a `CancelledError` of its own tasks, a panic of a library in Rust, a
`GeneratorExit`. None of these is an `Exception`, but all of them are failures of the step. This
process itself raises only these during a step: flowq's own interrupts, the exit that a signal
requests, and the interrupt key of a person at a terminal.
"""

import signal
import threading
from typing import Final

#: `billiard` leaves a child of a prefork pool with 256 less the signal, below zero.
_EXITS_BY_SIGNAL: Final = range(-255, -191)


class Interrupt(BaseException):
    """Ends an attempt from outside.

    No `Exception`, so that a step that catches exceptions does not continue.
    """


def interrupt_in(error: BaseException) -> BaseException | None:
    """Return the interrupt that an error is, or that a group of errors contains; else None."""
    if isinstance(error, BaseExceptionGroup):
        found = (interrupt_in(one) for one in error.exceptions)
        # Exits by a signal or a key are not searched for in a group.
        return next((one for one in found if isinstance(one, Interrupt)), None)
    if isinstance(error, Interrupt):
        return error
    if isinstance(error, SystemExit):
        return error if error.code in _EXITS_BY_SIGNAL else None
    if isinstance(error, KeyboardInterrupt):
        # Python raises it in the main thread, unless the host has a handler of its own for SIGINT.
        by_key = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        in_main = threading.current_thread() is threading.main_thread()
        return error if by_key and in_main else None
    return None
