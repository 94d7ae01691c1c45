"""Times the forms of the scan in onnxruntime, and complete exported models.

    python benchmarks/onnx_export.py --json benchmarks/results/onnx.json

Each form is timed on the scans of the paper's four stages (256 x 256, Hilbert, 8 directions, 16
states) and summed over its 16 blocks; then complete models, from pixels to decision. All at batch
1, the forms in turns; medians of the repeats after one warm-up.
"""

import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import numpy as np
import onnxruntime
import torch
import typer
from cpu import commit  # benchmarks/cpu.py
from onnx import helper

from model.benchmark import device_name, versions
from model.calibration.calibration import Calibration
from model.checkpoints.checkpoint import Checkpoint, CheckpointStore
from model.export.artefact import build
from model.export.graph import IR_VERSION, OPSET, Graph, Value, tensor
from model.export.scan import Recurrence, ScanWeights, chunk_steps, chunked, initial_state, scan
from model.images.preprocess import Preprocessing
from model.network import MambaAD, NetworkConfig
from model.scan import order_table
from model.scoring.scores import Scoring

STAGES = ((8, 512, 3), (16, 256, 4), (32, 128, 6), (64, 64, 3))
"""Side, channels and HSS blocks of the paper's stages."""

Idle = Literal["waiting", "spinning"]
SPINNING: dict[Idle, str] = {"waiting": "0", "spinning": "1"}
"""What threads do between operators: the service's option, and onnxruntime's default."""

Timed = tuple[onnxruntime.InferenceSession, dict[str, np.ndarray]]

Inputs = tuple[Value, Value, Value, Value]


def step(graph: Graph, weights: ScanWeights, inputs: Inputs, prefix: str) -> Value:
    """One step at a time, (K, B, N, D)."""
    K, D, N = weights.A.shape
    shapes = ((1, D), (1, D), (N, 1), (1, N))
    rows = [
        graph.reshape(x, weights.order.shape[1], K, -1, *s)
        for x, s in zip(inputs, shapes, strict=True)
    ]
    body = Graph(graph, f"{prefix}step_")
    names = [f"{prefix}{name}" for name in ("state", "delta", "delta_u", "B", "C")]
    decay = body.op("Exp", body.op("Mul", names[1], weights.A.transpose(0, 2, 1)[:, None]))
    decayed = body.op("Mul", decay, names[0])
    after = body.op("Add", decayed, body.op("Mul", names[2], names[3]))
    y = body.op("MatMul", names[4], after)
    return graph.scan(
        body.body(names, [after, y]), initial_state(graph, inputs[0], (K, N, D)), rows
    )[1]


def naive(graph: Graph, weights: ScanWeights, inputs: Inputs, prefix: str) -> Value:
    """One step at a time, (K, B, D, N)."""
    K, D, N = weights.A.shape
    shapes = ((D, 1), (D, 1), (1, N), (N, 1))
    rows = [
        graph.reshape(x, weights.order.shape[1], K, -1, *s)
        for x, s in zip(inputs, shapes, strict=True)
    ]
    body = Graph(graph, f"{prefix}step_")
    names = [f"{prefix}{name}" for name in ("state", "delta", "delta_u", "B", "C")]
    decay = body.op("Exp", body.op("Mul", names[1], weights.A[:, None]))
    decayed = body.op("Mul", decay, names[0])
    after = body.op("Add", decayed, body.op("Mul", names[2], names[3]))
    y = body.op("MatMul", after, names[4])
    state = initial_state(graph, inputs[0], (K, D, N))
    return graph.scan(body.body(names, [after, y]), state, rows)[1]


def split(graph: Graph, weights: ScanWeights, inputs: Inputs, prefix: str) -> Value:
    """Chunks, split and unrolled in the body."""
    K, D, N = weights.A.shape
    L, steps = weights.order.shape[1], chunk_steps(weights)
    shapes = ((1, D), (1, D), (N, 1), (1, N))
    rows = [
        graph.reshape(x, L // steps, steps, K, -1, *s) for x, s in zip(inputs, shapes, strict=True)
    ]
    body = Graph(graph, f"{prefix}chunk_")
    names = [f"{prefix}{name}" for name in ("state", "delta", "delta_u", "B", "C")]
    decay = body.op("Exp", body.op("Mul", names[1], weights.A.transpose(0, 2, 1)[:, None]))
    source = body.op("Mul", names[2], names[3])
    decays, sources = (body.split(x, [1] * steps, axis=0) for x in (decay, source))
    state = body.op("Unsqueeze", names[0], np.array([0]))
    states = []
    for now, new in zip(decays, sources, strict=True):
        state = body.op("Add", body.op("Mul", now, state), new)
        states.append(state)
    last = body.op("Squeeze", state, np.array([0]))
    y = body.op("MatMul", names[4], body.op("Concat", *states, axis=0))
    first = initial_state(graph, inputs[0], (K, N, D))
    return graph.scan(body.body(names, [last, y]), first, rows)[1]


FORMS: dict[str, Recurrence] = {"naive": naive, "step": step, "split": split, "chunked": chunked}


def scan_session(form: Recurrence, side: int, channels: int, threads: int, idle: Idle) -> Timed:
    """Return a session of a single scan, and random inputs."""
    K, N, D, R, L = 8, 16, 2 * channels, -(-channels // 16), side * side
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    weights = ScanWeights(
        -np.exp(normal(K, D, N)), normal(K, D), normal(K, D, R) * np.float32(0.5),
        normal(K, D) - np.float32(4), order_table("hilbert", K, side, side),
    )  # fmt: skip
    graph = Graph()
    y = graph.op("Identity", scan(graph, "u", "selection", weights, "scan_", form), name="y")
    shapes = {"u": (1, L, D), "selection": (1, L, K * (R + 2 * N))}
    proto = helper.make_graph(
        graph.nodes, "scan", [tensor(n, "float32", *s) for n, s in shapes.items()],
        [tensor(y, "float32", 1, L, D)], list(graph.initializers.values()),
    )  # fmt: skip
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    feeds = {name: normal(*shape) * np.float32(0.5) for name, shape in shapes.items()}
    return session_of(model.SerializeToString(), threads, idle), feeds


def session_of(data: bytes, threads: int, idle: Idle) -> onnxruntime.InferenceSession:
    """Open a model with `threads` threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", SPINNING[idle])
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def paper(folder: Path) -> Checkpoint:
    """Save the paper's configuration with random weights."""
    torch.manual_seed(0)
    half = (0.5, 0.5, 0.5)
    preprocessing = Preprocessing(image_size=(256, 256), mean=half, std=half)
    calibrations = {"part": Calibration.fit([0.5, 0.9], [1.0, 2.0])}
    return CheckpointStore(folder).save(
        "paper", MambaAD(NetworkConfig()).eval(), preprocessing, Scoring(), calibrations,
        training={}, metrics={},
    )  # fmt: skip


def median_ms(sessions: dict[str, Timed], repeats: int) -> dict[str, float]:
    """Run all sessions in turns and return their median times; the first runs warm up."""
    times_ms: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(1 + repeats):
        for name, (session, feeds) in sessions.items():
            start = time.perf_counter()
            session.run(None, feeds)
            times_ms[name].append((time.perf_counter() - start) * 1e3)
    return {name: median(times[1:]) for name, times in times_ms.items()}


def scans(threads: int, idle: Idle, repeats: int) -> dict[str, float]:
    """Return the milliseconds of all scans of the paper's network, by form."""
    forms = dict.fromkeys(FORMS, 0.0)
    for side, channels, blocks in STAGES:
        sessions = {n: scan_session(f, side, channels, threads, idle) for n, f in FORMS.items()}
        for name, ms in median_ms(sessions, repeats).items():
            forms[name] += blocks * ms
    return forms


def time_model(checkpoint: Checkpoint, threads: int, repeats: int) -> dict[str, float]:
    """Return a model's milliseconds by option for idle threads, its load time and its size."""
    data = build(checkpoint).SerializeToString()
    height, width = checkpoint.config.image_size
    image = np.random.default_rng(0).integers(0, 256, (1, 3, height, width), dtype=np.uint8)
    feeds = {"image": image, "category": np.zeros(1, np.int64)}
    started = time.perf_counter()
    session_of(data, threads, "waiting")
    load_ms = (time.perf_counter() - started) * 1e3
    figures: dict[str, float] = {"load_ms": load_ms, "bytes": len(data)}
    for idle in SPINNING:  # not in turns: sessions would take each other's cores
        session = session_of(data, threads, idle)
        figures[f"{idle}_ms"] = median_ms({"model": (session, feeds)}, repeats)["model"]
        del session  # stops its spinning threads
    return figures


def main(
    weights: Annotated[Path, typer.Option(help="The checkpoint store.")] = Path("weights"),
    threads: int = 2,
    repeats: int = 15,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Print the median times in ms, and write them as JSON."""
    forms = {idle: scans(threads, idle, repeats) for idle in SPINNING}
    print("all scans of the paper's network, ms:", forms, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = paper(Path(folder)), CheckpointStore(weights).load("solar")
        models = {c.name: time_model(c, threads, repeats) for c in checkpoints}
    print(models)
    if json_file is not None:
        result = {
            "device": device_name("cpu"), "threads": threads, "commit": commit(),
            "versions": versions() | {"onnxruntime": onnxruntime.__version__},
            "scans_ms": forms, "models": models,
        }  # fmt: skip
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
