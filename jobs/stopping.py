"""Ctrl-C and SIGTERM: what was begun is put away, and one line says how to go on.

Nothing heavy is imported here: the signals are ours before anything else is.
"""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
HOW_TO_GO_ON = "stopped; run the same command again to go on"


class Stopped(BaseException):
    """A signal asks for the end; no Exception, so that nobody takes it for a failure of theirs."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def stop_on_signals() -> None:
    """Raise Stopped in the main thread at the first signal; a second ends the process as it is.

    A signal that is ignored, as Ctrl-C is in the background of a script, stays ignored.
    """
    _hand_to(_stop)


def leave(number: int) -> NoReturn:
    """Say how to go on, end this process and all it has started; exit as shells do, 128 + number.

    Nothing is run on the way out: not Ray's shutdown, which waits, nor what a library has to say.
    """
    import psutil

    _hand_to(signal.SIG_IGN)
    for child in psutil.Process().children(recursive=True):
        child.kill()
    sys.stdout.flush()
    print(HOW_TO_GO_ON, file=sys.stderr, flush=True)
    os._exit(128 + number)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    _hand_to(_leave)
    raise Stopped(number)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    leave(number)


def _hand_to(handler: "signal._HANDLER") -> None:
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
