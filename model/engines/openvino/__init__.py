"""OpenVINO on a CPU: the network as two graphs, with our scan as an operator of its own."""

import sys

# OpenVINO tells its makers over the internet that it is used, unless this package is missing.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
