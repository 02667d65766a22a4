"""Encoders: which there are, and running them.

OpenVINO and NNCF report their use to their makers, unless the package that sends it is not there.
"""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
