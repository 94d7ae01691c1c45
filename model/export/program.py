"""A `torch.export` program from image to decision; it runs with torch alone.

    B  batch       L  positions      K  directions    T  steps of a chunk
    D  channels    N  states         R  rank of the delta projection

The kernels of `model.scan` belong to this package, so the program uses torch's higher-order `scan`
over chunks of T steps. Inputs and outputs are those of `model.export.artefact`.
"""

import io
import json
import math
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan as scan_over
from torch.nn.functional import softplus

from model.checkpoints.checkpoint import Checkpoint
from model.export.describing import metadata
from model.export.exported import Exported, check_exportable, write
from model.export.parity import Runner, check
from model.export.scoring import ABOVE_ZERO, BELOW_ONE, LOG_ODDS, rounded_down
from model.inspection import Category
from model.network.blocks import HSS
from model.network.normalise import normalise
from model.scoring.baselines import AnyBaseline
from model.scoring.cosine_map import anomaly_map
from model.scoring.fused_baseline import FusedBaseline
from model.scoring.gaussians import Gaussians
from model.scoring.patches import patch_features
from model.scoring.residual_baseline import FeatureBaseline
from model.scoring.residuals import residuals

CHUNK = 16
OUTPUTS = ("raw_score", "score", "decision", "anomaly_map")
"""The outputs besides "raw_map" or "residuals", and "patches" of a scoring with a memory."""


def rendered_scan(
    u: Tensor, selection: Tensor, A: Tensor, D: Tensor, dt_weight: Tensor, dt_bias: Tensor,
    order: Tensor,
) -> Tensor:  # fmt: skip
    """Compute `model.scan.hybrid_scan` with torch's operators and an exportable loop."""
    K, L = order.shape
    N, R = A.shape[2], dt_weight.shape[2]
    T = next(steps for steps in range(min(CHUNK, L), 0, -1) if L % steps == 0)
    visited, directions = order.long().T, torch.arange(K, device=u.device)
    selected = selection.permute(1, 2, 0, 3)[visited, directions]  # (L, K, B, S)
    dt, B, C = torch.split(selected, [R, N, N], dim=-1)
    delta = softplus(torch.einsum("lkbr,kdr->lkbd", dt, dt_weight) + dt_bias.unsqueeze(1))
    delta_u = delta * u.transpose(0, 1)[visited]
    rates = A.transpose(1, 2).contiguous().unsqueeze(1)  # (K, 1, N, D)

    def chunk(state: Tensor, now: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        decay = torch.exp(now[0].unsqueeze(3) * rates)  # (T, K, B, N, D)
        source = now[1].unsqueeze(3) * now[2].unsqueeze(4)
        states = []
        for t in range(T):
            state = decay[t] * state + source[t]
            states.append(state)
        return state, torch.matmul(now[3].unsqueeze(3), torch.stack(states)).squeeze(3)

    chunks = tuple(x.reshape(L // T, T, *x.shape[1:]).contiguous() for x in (delta, delta_u, B, C))
    _, y = scan_over(chunk, u.new_zeros(K, u.shape[0], N, u.shape[2]), chunks)
    steps = torch.argsort(order.long(), dim=1).T
    back: Tensor = y.flatten(0, 1)[steps, directions].sum(1)  # (L, B, D)
    return back.transpose(0, 1) + u * D.sum(0)


class MeasuredScale(nn.Module):
    """One scale's share of the map, from the Gaussians of each category."""

    mean: Tensor
    whitening: Tensor
    unit: Tensor
    rows: Tensor
    columns: Tensor
    triangle: Tensor

    def __init__(
        self, gaussians: Sequence[Gaussians], stretch: tuple[np.ndarray, np.ndarray]
    ) -> None:
        super().__init__()
        self.shape = gaussians[0].mean.shape
        tables = [gaussian.to_arrays() for gaussian in gaussians]
        arrays = {name: np.stack([table[name] for table in tables]) for name in tables[0]}
        arrays |= {"rows": stretch[0].copy(), "columns": stretch[1].copy()}
        arrays["triangle"] = np.stack(np.tril_indices(self.shape[0]))
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array))

    def forward(self, differences: Tensor, category: Tensor) -> Tensor:
        """Measure flat differences by every category, and select each image's category."""
        channels, height, width = self.shape
        centred = differences.reshape(-1, *self.shape) - self.mean[category]
        centred = centred.flatten(2).permute(2, 0, 1)  # (P, B, C)
        distances = centred.new_zeros(centred.shape[:2])
        for number in range(len(self.mean)):
            values = self.whitening[number].float() * self.unit[number].unsqueeze(1)
            matrices = values.new_zeros(len(values), channels, channels)
            matrices[:, self.triangle[0], self.triangle[1]] = values
            white = torch.matmul(centred, matrices.transpose(1, 2))
            distances = torch.where(category == number, white.square().mean(2).sqrt(), distances)
        maps: Tensor = self.rows @ distances.T.reshape(-1, height, width) @ self.columns
        return maps


class Remembered(nn.Module):
    """The fused maps of decoder and memory, from the fused baselines of each category."""

    origins: Tensor
    transforms: Tensor
    rows: Tensor
    columns: Tensor
    factors: Tensor

    def __init__(self, baselines: Sequence[FusedBaseline]) -> None:
        super().__init__()
        memories = [baseline.memory for baseline in baselines]
        for number, memory in enumerate(memories):
            self.register_buffer(f"against_{number}", torch.from_numpy(memory.against))
        arrays = {
            "origins": np.stack([memory.origin for memory in memories])[:, :, None],
            "transforms": np.stack([memory.transform for memory in memories]),
            "rows": memories[0].stretch.rows,
            "columns": memories[0].stretch.columns,
            "factors": np.array([baseline.factors for baseline in baselines], np.float32),
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array))

    def forward(self, maps: Tensor, patches: Tensor, category: Tensor) -> Tensor:
        """Return the fused maps, from the decoder's maps and the patches (B, C, h, w)."""
        flat = patches.flatten(2)
        squares = flat.new_zeros(flat.shape[0], flat.shape[2])
        for number in range(len(self.origins)):
            centred = torch.matmul(self.transforms[number], flat - self.origins[number])
            against = cast(Tensor, getattr(self, f"against_{number}"))
            products = torch.matmul(against[:, :-1], centred) + against[:, -1:]
            apart = centred.square().sum(1) - 2 * products.amax(1)
            squares = torch.where((category == number).unsqueeze(1), apart, squares)
        grid = squares.clamp_min(0).sqrt().reshape(-1, *patches.shape[2:])
        a, b, c = self.factors[category][:, :, None, None].unbind(1)
        fused: Tensor = a * maps + b * (self.rows @ grid @ self.columns) - c
        return fused


class Program(nn.Module):
    """From (image, category) to the outputs of `model.export.artefact`, by name."""

    mean: Tensor
    deviation: Tensor
    thresholds: Tensor

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.network = deepcopy(checkpoint.network).eval().requires_grad_(False)
        for module in self.network.modules():
            if isinstance(module, HSS):
                module.backend = cast(Any, rendered_scan)
        self.preprocessing, self.scoring = checkpoint.preprocessing, checkpoint.scoring
        names = checkpoint.manifest.categories
        baselines = [checkpoint.baselines[n] for n in names if self.scoring.uses_baselines]
        fused = [baseline for baseline in baselines if isinstance(baseline, FusedBaseline)]
        self.remembered = Remembered(fused) if fused else None
        self._store_baselines([b.decoder if isinstance(b, FusedBaseline) else b for b in baselines])
        calibrations = [checkpoint.calibrations[name] for name in names]
        rows = [
            (
                rounded_down(c.image_threshold),
                rounded_down(
                    c.image_threshold if c.review_threshold is None else c.review_threshold
                ),
                np.float32(LOG_ODDS / c.image_scale),
            )
            for c in calibrations
        ]
        self.register_buffer("thresholds", torch.tensor(np.array(rows)))

    def _store_baselines(self, baselines: Sequence[AnyBaseline | None]) -> None:
        if self.scoring.measures_differences:
            features = [cast(FeatureBaseline, baseline) for baseline in baselines]
            scales = zip(*(baseline.scales for baseline in features), strict=True)
            pairs = zip(scales, features[0].stretches, strict=True)
            self.scales = nn.ModuleList(MeasuredScale(*pair) for pair in pairs)
            return
        tables = [baseline.to_arrays() for baseline in baselines if baseline]
        for name in tables[0] if tables else ():
            self.register_buffer(name, torch.from_numpy(np.stack([t[name] for t in tables])))

    def forward(self, image: Tensor, category: Tensor) -> dict[str, Tensor]:
        """Return all outputs by name."""
        unused, weights = self.scoring.unused_scales, self.scoring.scale_weights
        teacher = self.network.encoder(normalise(image, self.preprocessing))
        student = self.network.reconstruct(teacher, unused)
        if self.scoring.measures_differences:
            compared = residuals(teacher[unused:], student, weights[unused:])
            maps, name = self._measured(compared, category), "residuals"
        else:
            size, sigma = self.preprocessing.image_size, self.scoring.sigma
            compared = anomaly_map(teacher[unused:], student, size, sigma, weights[unused:])
            maps, name = compared, "raw_map"
            if self.scoring.standardise:
                maps = (compared - self.mean[category]) / self.deviation[category]
        others = {name: compared}
        if self.remembered is not None:
            patches = patch_features(teacher)
            maps = self.remembered(maps, patches, category)
            others["patches"] = patches.flatten(1)
        raw = self._raw_score(maps)
        score, decision = self._decided(raw, category)
        outputs = dict(zip(OUTPUTS, (raw, score, decision, maps), strict=True))
        return outputs | others

    def _measured(self, differences: Tensor, category: Tensor) -> Tensor:
        scales = [cast(MeasuredScale, scale) for scale in self.scales]
        parts = torch.split(differences, [math.prod(scale.shape) for scale in scales], dim=1)
        maps = [scale(part, category) for scale, part in zip(scales, parts, strict=True)]
        total: Tensor = torch.stack(maps).sum(0)
        return total

    def _raw_score(self, maps: Tensor) -> Tensor:
        flat = maps.flatten(1)
        zero = (flat * 0).sum(1)  # NaN if a pixel is infinite or NaN
        if self.scoring.statistic == "max":
            return flat.amax(1) + zero
        count = max(1, round(self.scoring.top_fraction * flat.shape[1]))
        return flat.topk(count, sorted=False).values.mean(1) + zero

    def _decided(self, raw: Tensor, category: Tensor) -> tuple[Tensor, Tensor]:
        image, review, slope = self.thresholds[category].unbind(1)
        score = torch.sigmoid((raw - image) * slope).clamp(float(ABOVE_ZERO), float(BELOW_ONE))
        decision = torch.where(raw > review, 2, 0)
        decision = torch.where(raw > image, 1, decision)
        return score, torch.where(raw.isnan(), 3, decision)


def export_program(
    checkpoint: Checkpoint, path: Path, say: Callable[[str], None] = lambda _: None
) -> Exported:
    """Write a calibrated checkpoint as a `.pt2` file, complete or not at all.

    Raises `ExportError`, and `ParityError` if the program's scores differ from the checkpoint's.
    """
    check_exportable(checkpoint)
    height, width = checkpoint.config.image_size
    example = (
        torch.zeros(2, 3, height, width, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    )  # fmt: skip
    batch = torch.export.Dim("batch")
    say("tracing")
    with torch.no_grad(), warnings.catch_warnings():
        # torch itself calls deprecated functions
        warnings.simplefilter("ignore", FutureWarning)
        traced = torch.export.export(
            Program(checkpoint), example, dynamic_shapes=({0: batch}, {0: batch}), strict=False
        )
    say("comparing with the checkpoint")
    parity = check(_runner(traced.module(), checkpoint.manifest.categories), checkpoint)
    data = io.BytesIO()
    with warnings.catch_warnings():
        # raised for each weight whose shape another weight has
        warnings.filterwarnings("ignore", "No complete tensor found", UserWarning)
        torch.export.save(
            traced, data, extra_files={"mambaad.json": json.dumps(metadata(checkpoint))}
        )
    return write(path, data.getvalue(), parity)


def _runner(module: nn.Module, categories: tuple[Category, ...]) -> Runner:
    """Return a function that takes categories by name; unknown ones use index 0."""

    def run(name: str, images: np.ndarray, category: Category) -> np.ndarray:
        index = categories.index(category) if category in categories else 0
        with torch.no_grad():
            outputs = module(torch.from_numpy(images), torch.full((len(images),), index))
        output: np.ndarray = outputs[name].numpy()
        return output

    return run
