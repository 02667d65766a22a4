"""A Ray that is lost under a job: one line, for the same command goes on."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import ray
from ray._private import worker
from ray._private.ray_constants import PROCESS_TYPE_GCS_SERVER, PROCESS_TYPE_RAYLET

from pipeline.core.errors import LostError

SECONDS = 0.5  # between two looks
NEEDED = {PROCESS_TYPE_GCS_SERVER, PROCESS_TYPE_RAYLET}
NODE = "Ray's {} on this machine died; run the same command again: it goes on"
PARTS = "a part of Ray was lost ({}); run the same command again: it goes on"
WORKERS = (
    "a worker died again and again, most likely for want of memory ({}); run the same command "
    "again with fewer ray.workers: it goes on"
)
DIED = (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError)
LOST = (
    ray.exceptions.LocalRayletDiedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.ObjectReconstructionFailedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.RaySystemError,
    ray.exceptions.RpcError,
)


@contextmanager
def told_if_lost() -> Iterator[None]:
    """Raise LostError for what Ray raises in the block because a part of it died.

    Where the node that this process has started dies, the process ends at once with the same line:
    Ray's core would end it some seconds later without a word.
    """
    done = threading.Event()
    thread = threading.Thread(target=_watch, args=(done,), name="lost", daemon=True)
    thread.start()
    try:
        yield
    except ray.exceptions.RayError as error:
        told = _told(error)
        if told is None:
            raise
        raise LostError(told) from None
    finally:
        done.set()
        thread.join()


def _told(error: BaseException) -> str | None:
    """Return the line for an error of Ray's that tells of a loss, None for a bug of ours."""
    if isinstance(error, ray.exceptions.RayTaskError):
        return _told(error.cause) if isinstance(error.cause, ray.exceptions.RayError) else None
    if isinstance(error, ray.exceptions.ActorDiedError) and error.actor_init_failed:
        return None
    if dead := _dead_part():
        return NODE.format(dead)
    name = type(error).__name__
    if isinstance(error, DIED):
        return WORKERS.format(name)
    return PARTS.format(name) if isinstance(error, LOST) else None


def _dead_part() -> str | None:
    """Return what has died of the node that this process has started."""
    node = worker._global_node
    if node is None or not node.is_head():  # a cluster that was joined
        return None
    dead = {kind for kind, _ in node.dead_processes()} & NEEDED
    return min(dead, default=None)


def _watch(done: threading.Event) -> None:
    while not done.wait(SECONDS):
        if dead := _dead_part():
            _leave(NODE.format(dead))


def _leave(line: str) -> None:
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    sys.stdout.flush()
    print(line, file=sys.stderr, flush=True)
    os._exit(LostError.exit_code)
