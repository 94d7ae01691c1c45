"""Counts the instructions of the CUDA kernels in their machine code; needs Triton, but no GPU.

    python -m benchmarks.kernel_counts --json benchmarks/results/kernel-counts.json

Compiles the kernels for sm_90, and counts the instructions in the forward scan's loop over the
steps by kind; for backward kernels, registers and spills. The counts give two lower bounds of a
scan's time on an H100 whose schedulers never wait, by exponentials and by instructions; the bytes
to move give a third. `benchmarks/gpu.py` measures.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import triton
import typer
from triton import JITFunction
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from model.scan.triton import launch
from model.scan.triton.backward import chunk_gradients
from model.scan.triton.chunks import chunk_ends
from model.scan.triton.forward import scan_chunks
from model.scan.triton.plan import (
    CYCLES_AN_EXPONENTIAL,
    SCHEDULERS,
    Shape,
    plan_backward,
    plan_forward,
    register_limit,
)

MULTIPROCESSORS = 132
HERTZ = 1.755e9
BYTES_A_SECOND = 3.35e12
STAGES = (  # L, D, R, blocks of the paper's configuration, coarse to fine
    (64, 1024, 32, 3),
    (256, 512, 16, 4),
    (1024, 256, 8, 6),
    (4096, 128, 4, 3),
)
DIRECTIONS, STATES = 8, 16
TRITON_NAMES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_INTEGERS = (
    "images", "L", "channels", "K", "per_group", "chunk", "chunks", "programs", "unit",
)  # fmt: skip
_INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,5})\*/\s+(?:@!?U?P\d+ )?([A-Z0-9]+)([^;]*);")


@dataclass(frozen=True)
class Count:
    """A kernel's instructions for one step of one warp, and the resulting bounds of a scan."""

    L: int
    D: int
    R: int
    dtype: str
    images: int
    block: int
    chunks: int
    groups: int
    registers: int
    spilled_bytes: int
    instructions_a_step: float
    exponential_unit_a_step: float
    loads_a_step: float
    shuffles_a_step: float
    issue_ms: float
    exponentials_ms: float
    bytes_ms: float


@dataclass(frozen=True)
class Registers:
    """A thread's registers and spills in a backward kernel."""

    kernel: str
    D: int
    R: int
    block: int
    registers: int
    spilled_bytes: int


def main(
    images: Annotated[list[int] | None, typer.Option(help="Batch sizes.")] = None,
    dtype: Annotated[list[str] | None, typer.Option()] = None,
    stage: Annotated[list[int] | None, typer.Option(help="0 to 3, coarse to fine.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Print, and write as JSON, the counts of every stage, dtype and batch size."""
    stages = [STAGES[i] for i in stage] if stage else list(STAGES)
    counts = [
        count(Shape(b, L, DIRECTIONS, D, STATES, R), name)
        for name in dtype or ["float32", "bfloat16"]
        for b in images or [1, 32]
        for L, D, R, _ in stages
    ]
    for c in counts:
        print(
            f"L {c.L:5} D {c.D:5} {c.dtype:8} b {c.images:3}  block {c.block:2} x {c.chunks:2} "
            f"chunks, {c.groups} groups  {c.registers:3} registers  {c.instructions_a_step:6.1f} "
            f"instructions, {c.exponential_unit_a_step:4.1f} exponentials, "
            f"{c.shuffles_a_step:4.1f} shuffles a step  floors {c.issue_ms:.4f} "
            f"{c.exponentials_ms:.4f} {c.bytes_ms:.4f} ms"
        )
    shapes = [Shape(8, L, DIRECTIONS, D, STATES, R) for L, D, R, _ in stages]
    others = [use for shape in shapes for use in backward_registers(shape)]
    for use in others:
        print(use)
    if json_file is not None:
        about = {
            "device": "none: compiled for sm_90, not run",
            "speed": "not measured",
            "triton": triton.__version__,
            "commit": commit(),
            "assumed": {"multiprocessors": MULTIPROCESSORS, "hertz": HERTZ,
                        "bytes_a_second": BYTES_A_SECOND},
            "counts": [asdict(c) for c in counts],
            "backward": [asdict(use) for use in others],
        }  # fmt: skip
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(about, indent=2) + "\n")


def count(shape: Shape, dtype: str) -> Count:
    """Compile the scan for a shape, and count the instructions of its loop."""
    plan = plan_forward(shape, MULTIPROCESSORS)
    constants = launch.sizes(shape, plan.block) | {"CHUNKED": plan.chunks > 1}
    limit = register_limit(shape, plan.block)
    listing, usage = inspect(compile_kernel(scan_chunks, constants, TRITON_NAMES[dtype], limit))
    steps, kinds = loop_over_steps(listing)
    walks = 1 + 0.75 * (plan.chunks > 1)  # the walk to a chunk's end computes no output
    warp_steps = shape.images * shape.K * shape.L * -(-shape.D // plan.block) * walks
    slots = MULTIPROCESSORS * SCHEDULERS * HERTZ / 1000  # per millisecond
    a_step = {kind: n / steps for kind, n in kinds.items()}
    issued = sum(a_step.values())
    return Count(
        shape.L, shape.D, shape.R, dtype, shape.images, plan.block, plan.chunks, plan.groups,
        int(usage["REG"]), spilled(usage), issued,
        a_step.get("MUFU", 0), a_step.get("LDG", 0), a_step.get("SHFL", 0),
        warp_steps * issued / slots,
        warp_steps * a_step.get("MUFU", 0) * CYCLES_AN_EXPONENTIAL / slots,
        1000 * least_bytes(shape, BYTES[dtype]) / BYTES_A_SECOND,
    )  # fmt: skip


def least_bytes(shape: Shape, width: int) -> int:
    """Return the bytes of u, the selection and y, each moved once: the minimum."""
    rows = shape.K * (shape.R + 2 * shape.N)
    return shape.images * shape.L * (2 * shape.D + rows) * width


def backward_registers(shape: Shape) -> list[Registers]:
    """Compile the backward kernels for a shape, and return their registers."""
    block = plan_backward(shape, MULTIPROCESSORS).block
    sizes = launch.sizes(shape, block)
    binaries = {
        "chunk_ends": compile_kernel(
            chunk_ends, sizes | {"REVERSED": True}, "fp32", register_limit(shape, block)
        ),
        "chunk_gradients": compile_kernel(chunk_gradients, sizes, "fp32", None),
    }
    uses = {name: inspect(binary)[1] for name, binary in binaries.items()}
    return [
        Registers(name, shape.D, shape.R, block, int(use["REG"]), spilled(use))
        for name, use in uses.items()
    ]


def spilled(usage: dict[str, str]) -> int:
    """Return the bytes of local memory in a thread."""
    return int(usage["STACK"]) + int(usage["LOCAL"])


def compile_kernel(
    kernel: JITFunction[Any], constants: dict[str, int], dtype: str, registers: int | None
) -> bytes:
    """Compile for an H100, with the information that a launch gives; `dtype` is u's."""
    names = kernel.arg_names
    kinds = dict.fromkeys(names, "*fp32") | dict.fromkeys(_INTEGERS, "i32")
    kinds |= {"u": f"*{dtype}", "order": "*i32"} | dict.fromkeys(constants, "constexpr")
    signature = {name: kinds[name] for name in names}
    pointers = [name for name in names if signature[name].startswith("*")]
    source = ASTSource(
        kernel,
        signature=signature,
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(names.index(n),): [["tt.divisibility", 16]] for n in (*pointers, "L", "channels")},
    )
    options = launch.OPTIONS | {"maxnreg": registers}
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    binary: bytes = compiled.asm["cubin"]
    return binary


def inspect(binary: bytes) -> tuple[str, dict[str, str]]:
    """Return the machine code as text, and its registers and memory."""
    tool = triton.knobs.nvidia.cuobjdump.path
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        listing, usage = (
            subprocess.run([tool, option, file.name], capture_output=True, text=True, check=True)
            for option in ("-sass", "-res-usage")
        )
    return listing.stdout, dict(re.findall(r"(\w+):(\d+)", usage.stdout + usage.stderr))


def loop_over_steps(listing: str) -> tuple[int, Counter[str]]:
    """Return the number of steps in an iteration of the main loop, and its instructions by kind.

    The main loop is the innermost one with the most exponentials; each step stores one row of y.
    """
    code = [(int(a, 16), kind, operands) for a, kind, operands in _INSTRUCTION.findall(listing)]
    branches = ((a, operands) for a, kind, operands in code if kind == "BRA")
    targets = ((a, re.search(r"0x([0-9a-f]+)", operands)) for a, operands in branches)
    loops = [(int(t[1], 16), a) for a, t in targets if t is not None and int(t[1], 16) < a]
    inner = [x for x in loops if not any(y != x and x[0] <= y[0] <= y[1] <= x[1] for y in loops)]
    bodies = [Counter(k for a, k, _ in code if first <= a <= last) for first, last in inner]
    body = max(bodies, key=lambda kinds: kinds["MUFU"])
    return body["STG"], body


def commit() -> str:
    """Return the checked out commit."""
    answer = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "unknown"


if __name__ == "__main__":
    if triton.knobs.runtime.interpret:
        sys.exit("unset TRITON_INTERPRET: interpreted kernels have no machine code")
    typer.run(main)
