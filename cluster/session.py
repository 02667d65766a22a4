"""Joining a Ray cluster, or starting one on this machine."""

import io
import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import ray
from ray._private import ray_constants, utils, worker

from cluster.joining import join
from cluster.leftovers import SESSION, clear_leftovers, drivers_file
from cluster.lost import told_if_lost
from pipeline.core.errors import ConfigError, LostError, SluiceError

LATE = "timed out during startup"  # Ray's words; it has no error of its own for it
PRINT = worker.print_to_stdstream


def gpu_share(workers: int) -> float:
    """Return the share of a GPU each of ``workers`` actors may ask for: all of them must fit.

    Raises ConfigError where the cluster joined has none.
    """
    gpus = float(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
    if not gpus:
        raise ConfigError("embed.backend is cuda, but no node of the cluster has a GPU")
    return 1 / math.ceil(workers / gpus)  # an actor's share lies on one GPU, never on two


def cpus() -> int | None:
    """Return the CPUs of the cluster that is joined, of which a worker takes one; None: none is."""
    if not ray.is_initialized():
        return None
    return int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]


@contextmanager
def ray_session(workers: int, address: str | None = None) -> Iterator[None]:
    """Connect to Ray for the length of a job; does nothing where the caller is connected already.

    Inside ``ray job submit`` (RAY_ADDRESS is set) or with ``address``, that cluster is joined;
    else a local one with ``workers`` CPU slots is started and stopped again.
    """
    if ray.is_initialized():
        yield
        return
    clear_leftovers()
    with core_lines_kept(), _replaced(worker, "print_to_stdstream", _print_unless_raylets):
        try:
            # As it starts Ray takes SIGTERM over, and its core once more, to print a stack at it.
            with (
                _replaced(utils, "set_sigterm_handler", lambda handler: None),
                _replaced(ray_constants, "RAY_DISABLE_FAILURE_SIGNAL_HANDLER", True),
            ):
                _start(workers, address)
            with told_if_lost():
                yield
        finally:
            ray.shutdown()


def _start(workers: int, address: str | None) -> None:
    # Ray Data's own bars and log lines would write over ours.
    quiet = {"RAY_DATA_DISABLE_PROGRESS_BARS": "1", "PYTHONWARNINGS": "ignore"}
    if named := address or os.environ.get("RAY_ADDRESS"):
        join(named, logging_level=logging.ERROR, runtime_env={"env_vars": quiet})
        return
    try:
        ray.init(
            address="local",  # never a cluster that happens to run on this machine
            num_cpus=workers,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env={"env_vars": quiet},
        )
    except Exception as error:
        if LATE not in str(error):
            raise
        raise LostError(
            "Ray did not start on this machine in time, which is busy with other work; run the "
            "same command again, with fewer --workers where that does not help"
        ) from error
    node = worker._global_node
    os.write(2, SESSION.format(node.get_session_dir_path() if node else None).encode())


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def _print_unless_raylets(lines: dict[str, Any], ignore_prefix: bool) -> None:
    """Put what Ray says of lost workers with its core's lines; it prints it among our tables."""
    if lines["pid"] == "raylet":
        os.write(2, "".join(f"{line}\n" for line in lines["lines"]).encode())
    else:
        PRINT(lines, ignore_prefix)


@contextmanager
def core_lines_kept() -> Iterator[None]:
    """Keep what Ray's C++ core writes to the screen in a file; show it where the block fails.

    Ray Data hands its actors their context as an object, of which the core complains in every run
    (github.com/ray-project/ray/issues/53727), and has no setting to be quiet. What Python writes to
    sys.stderr is shown as ever. A process that is killed leaves the file to the next one to clear.
    """
    ours, screen = sys.stderr, os.dup(2)
    with drivers_file() as path:
        with open(path, "ab") as file:
            os.dup2(file.fileno(), 2)
        if _descriptor(ours) == 2:
            raw = io.BufferedWriter(io.FileIO(screen, "w", closefd=False))
            sys.stderr = io.TextIOWrapper(raw, ours.encoding, ours.errors, line_buffering=True)
        try:
            yield
        except Exception as error:
            if not isinstance(error, SluiceError):
                with suppress(FileNotFoundError), open(path, "rb") as kept:
                    os.write(screen, kept.read())
            raise
        finally:
            sys.stderr.flush()
            sys.stderr = ours
            os.dup2(screen, 2)
            os.close(screen)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):  # a test's or a notebook's stand-in has none
        return None
