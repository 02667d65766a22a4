"""A call that needs a GPU, such as embedding a job's few queries, from a node that lacks one."""

from collections.abc import Callable
from typing import TypeVar

import ray

from pipeline.core.errors import SluiceError

T = TypeVar("T")


def call_on_worker(work: Callable[[], T], gpus: float) -> T:
    """Return ``work()`` as one Ray task does it; a SluiceError is raised as it was."""

    @ray.remote(num_gpus=gpus)
    def call() -> T:
        return work()

    try:
        found: T = ray.get(call.remote())
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, SluiceError):
            raise error.cause from None
        raise
    return found
