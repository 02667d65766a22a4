"""Joining a Ray cluster, or starting one on this machine."""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from pipeline.core.errors import ConfigError


def gpu_share(workers: int) -> float:
    """Return the share of a GPU each of ``workers`` actors may ask for: all of them must fit.

    Raises ConfigError where the cluster joined has none.
    """
    gpus = float(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
    if not gpus:
        raise ConfigError("embed.backend is cuda, but no node of the cluster has a GPU")
    return 1 / math.ceil(workers / gpus)  # an actor's share lies on one GPU, never on two


@contextmanager
def ray_session(workers: int, address: str | None = None) -> Iterator[None]:
    """Connect to Ray for the length of a job; does nothing where the caller is connected already.

    Inside ``ray job submit`` (RAY_ADDRESS is set) or with ``address``, that cluster is joined;
    else a local one with ``workers`` CPU slots is started and stopped again.
    """
    if ray.is_initialized():
        yield
        return
    # Ray Data's own bars and log lines would write over ours.
    quiet = {"RAY_DATA_DISABLE_PROGRESS_BARS": "1", "PYTHONWARNINGS": "ignore"}
    if address or os.environ.get("RAY_ADDRESS"):
        ray.init(address=address, logging_level=logging.ERROR, runtime_env={"env_vars": quiet})
    else:
        ray.init(
            address="local",  # never a cluster that happens to run on this machine
            num_cpus=workers,
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env={"env_vars": quiet},
        )
    try:
        yield
    finally:
        ray.shutdown()
