"""Parts of `benchmarks/peers.py`: its subjects, the processes that compute them, and turns.

`turns`, `torch_peers` and `openvino_peers` run in the peers' environment, without this project's
packages: they import only the standard library and what that environment has.
"""
