"""Joining a Ray cluster that somebody else has started, or saying soon why it cannot be."""

from typing import Any

import grpc
import ray
from ray._private import grpc_utils, services

from pipeline.core.errors import ConfigError

ANSWER = 20.0  # seconds that a cluster may take to answer; Ray itself would ask for ten minutes
REMEDY = (
    "start that cluster, mend ray.address or RAY_ADDRESS, or leave both out to work on this machine"
)


def join(named: str, **settings: Any) -> None:
    """Connect to the cluster at ``named``, as ray.init takes it. Raises ConfigError."""
    try:
        _refuse_silent(named)
        ray.init(address=named, **settings)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"cannot join the Ray cluster at {named}: {reason}; {REMEDY}") from error


def _refuse_silent(named: str) -> None:
    at = named.removeprefix("ray://")
    if at.startswith(("http://", "https://")):
        raise ValueError("that is its dashboard; the cluster's own port is 6379 if nothing else")
    server = services.canonicalize_bootstrap_address(at)
    if server is None:
        return
    with grpc_utils.init_grpc_channel(server, [("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
        try:
            ask(b"", timeout=ANSWER, wait_for_ready=True)
        except grpc.RpcError as error:  # a port for ray:// knows no such call, but answers
            client = at != named and error.code() == grpc.StatusCode.UNIMPLEMENTED
            if not client and error.code() != grpc.StatusCode.UNAUTHENTICATED:
                raise ConnectionError(f"nothing of Ray answers within {ANSWER:.0f} s") from error
