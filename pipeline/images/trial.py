"""Trying an image in a process of its own, which it may kill or hang."""

import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe

from pipeline.images.formats import MAX_PIXELS

MEMORY = 4 << 30  # bytes a trial may take at least
BYTES_A_PIXEL = 48  # of the largest allowed, twice what any takes
STARTED = 300.0  # seconds, at most, until the process has imported what decodes
MAIN = "from pipeline.images.trial import main; main()"


class Trial:
    """Tries images one by one in a process that has ``seconds`` and MEMORY for each.

    It is a fresh interpreter, no fork: a copy of a process with threads may hang by itself. It
    starts with the first image, and anew after one that it did not survive.
    """

    def __init__(self, size: int, seconds: float, max_pixels: int = MAX_PIXELS) -> None:
        self.size = size
        self.max_pixels = max_pixels
        self.seconds = seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[bytes, bytes] | None = None

    def verdict(self, data: bytes) -> str | None:
        """Return "reason: detail" of an image that cannot be decoded in peace, None of any other.

        Raises RuntimeError where no process can be started.
        """
        told = self._ask(data)
        if told.startswith("kills"):  # what came before it may have done the damage
            told = self._ask(data)
        return told or None

    def close(self) -> None:
        """End the process, if there is one."""
        if self._child and self._pipe:
            self._pipe.close()
            self._child.kill()
            self._child.wait()
        self._child = None

    def _ask(self, data: bytes) -> str:
        pipe = self._started()
        try:
            pipe.send_bytes(data)
            if pipe.poll(self.seconds):
                return pipe.recv_bytes().decode()
            told = f"too-slow: takes more than {self.seconds:g} s to decode"
        except (EOFError, OSError):
            told = f"kills-its-decoder: {self._how_it_ended()}"
        self.close()
        return told

    def _started(self) -> "Connection[bytes, bytes]":
        if self._child and self._pipe:
            return self._pipe
        self._pipe, theirs = Pipe()
        arguments = map(str, (theirs.fileno(), self.size, self.seconds, self.max_pixels))
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-c", MAIN, *arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us: a process that it ends would be a verdict
        )
        theirs.close()
        with suppress(EOFError, OSError):
            if self._pipe.poll(STARTED):
                self._pipe.recv_bytes()
                return self._pipe
        ended = self._how_it_ended()
        self.close()
        raise RuntimeError(f"no process to try images in: {ended}")

    def _how_it_ended(self) -> str:
        assert self._child
        with suppress(subprocess.TimeoutExpired):
            code = self._child.wait(1.0)
            return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return "no answer"


def main() -> None:
    """Try what comes through the pipe that is named by its number, until it is closed."""
    import pipeline.images.decode
    import pipeline.images.resize  # noqa: F401 (neither in an image's time)

    pipe: Connection[bytes, bytes] = Connection(int(sys.argv[1]))
    size, seconds, max_pixels = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    memory = max(MEMORY, BYTES_A_PIXEL * max_pixels)
    _limit_memory(memory)
    pipe.send_bytes(b"started")
    with suppress(EOFError):
        while True:
            data = pipe.recv_bytes()
            # Nobody else ends it where its parent was killed meanwhile.
            signal.setitimer(signal.ITIMER_VIRTUAL, 2 * seconds)
            fits = _has_memory(data, size, max_pixels)
            told = "" if fits else f"too-large: takes more than {memory:,} bytes to decode"
            pipe.send_bytes(told.encode())


def _limit_memory(memory: int) -> None:
    import psutil

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(ValueError, OSError):  # a system without that limit, or with a lower one
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + memory, hard))


def _has_memory(data: bytes, size: int, max_pixels: int) -> bool:
    """Decode an image; a bad one that does no harm is judged where it is decoded as ever."""
    from pipeline.images.decode import decode_rgb
    from pipeline.images.decoded import UndecodableImage
    from pipeline.images.resize import resize_square

    try:
        resize_square(decode_rgb(data, size, max_pixels).pixels, size)
    except MemoryError:
        return False
    except UndecodableImage as error:
        return not isinstance(error.__cause__, MemoryError)
    return True
