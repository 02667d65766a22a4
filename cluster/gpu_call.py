"""A call that needs a GPU, such as embedding a job's few queries, from a node that may lack one."""

from collections.abc import Callable
from typing import TypeVar

import ray

from cluster.session import gpu_share, ray_session
from pipeline.core.errors import SluiceError
from pipeline.embedding.encoder import has_cuda

T = TypeVar("T")


def call_near_gpu(backend: str, work: Callable[[], T], address: str | None = None) -> T:
    """Return ``work()``, done by a worker with a GPU where ``backend`` is "cuda" and none is here.

    The job's own node is often one without. Raises what ``work`` raises, and ConfigError where no
    node has a GPU.
    """
    if backend != "cuda" or has_cuda():
        return work()
    with ray_session(1, address):
        return call_on_worker(work, gpu_share(1))


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
