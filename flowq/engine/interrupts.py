"""Which exceptions end an attempt from outside; every other one is the failure of its step.

A step may raise anything: a `CancelledError` of its own tasks, a panic of a library in Rust, a
`GeneratorExit`. None of these is an `Exception`, and all of them are the step's own. What remains
is what this process raises in the middle of a step: flowq's own interrupts, the exit that a signal
has asked for, and the interrupt key of a person at a terminal.
"""

import signal
import threading
from typing import Final

#: `billiard` leaves a child of a prefork pool with 256 less the signal, below zero.
_EXITS_BY_SIGNAL: Final = range(-255, -191)


class Interrupt(BaseException):
    """Ends an attempt from outside.

    No `Exception`, so that a step that catches those does not go on.
    """


def interrupt_in(error: BaseException) -> BaseException | None:
    """Return the interrupt that an error is, or that a group of errors holds; None for others."""
    if isinstance(error, BaseExceptionGroup):
        found = (interrupt_in(one) for one in error.exceptions)
        # Neither a signal nor a key is answered in a group.
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
