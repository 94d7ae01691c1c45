"""The hybrid scan: one selective state space scan over K orders of the same positions.

    table = torch.from_numpy(order_table("hilbert", 8, 32, 32).copy())
    y = hybrid_scan(u, selection, A, D, dt_weight, dt_bias, table)

A state-space block walks a map as sequences: in 2, 4 or 8 directions, along one of five curves. The
published code writes each direction out as a permuted copy, scans the copies, and permutes the
results back. Here a direction is a row of a table (`orders`) of the position visited at each step.
Rotations, transposes and reversals are all in the table; its inverse is not needed.

`hybrid_scan` is the interface between the network and the kernels; its callers need not know which
backend runs. The inputs stay in the row-major order of the map; each backend walks them through
`order` and adds all directions into one output, without permuted copies. A block's projections work
on each position alone, so they are computed once for all directions.

Delta is computed inside the kernel. It has a value for each position, direction and channel, but
depends on only R numbers (a sixteenth of the block's input width). As a tensor (b, L, K, D) it
would be by far the network's largest, written once and read once. The kernel takes the R numbers,
with B and C beside them, and computes delta in registers: cheaper than the tensor's page faults on
a CPU, and than the memory traffic on a GPU.
"""

from typing import TYPE_CHECKING

from model.imports.lazy import lazily
from model.scan.orders import DIRECTIONS, SCANS, order_table

if TYPE_CHECKING:
    from model.scan.hybrid import BACKENDS, hybrid_scan

__all__ = ["BACKENDS", "DIRECTIONS", "SCANS", "hybrid_scan", "order_table"]

__getattr__ = lazily(
    __name__, {"BACKENDS": "model.scan.hybrid", "hybrid_scan": "model.scan.hybrid"}
)
