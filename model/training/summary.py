"""The manifest's section about training."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from model.inspection import Category
from model.scoring.baselines import AnyBaseline
from model.scoring.fused_baseline import FusedBaseline
from model.training.progress.records import thinned
from model.training.trainer import Trainer


def summary(trainer: Trainer) -> dict[str, Any]:
    """Return the recipe, progress and images of a training as JSON values."""
    history = trainer.place.history
    best = trainer.best
    return {
        "recipe": trainer.config.to_dict() | {"learning_rate": trainer.config.peak_learning_rate},
        "finished": trainer.finished,
        "epochs_done": trainer.place.epoch,
        "steps_done": trainer.place.epoch * trainer.steps_per_epoch + trainer.place.step,
        "kept": {"epoch": best.epoch, "held_out_loss": best.loss}
        if best and best.epoch
        else "last",
        "images": trainer.data.identity(),
        **({"category_names": dict(trainer.data.names)} if trainer.data.names else {}),
        "last_epoch": asdict(history[-1]) if history else None,
        "seconds": round(sum(record.seconds for record in history), 1),
        "processes": trainer.group.size,
        "curve": thinned(history),
    }


def remembered(baselines: Mapping[Category, AnyBaseline]) -> dict[str, Any]:
    """Return the size of each category's memory in patches and bytes; empty without memories."""
    memories = {k: b.memory for k, b in baselines.items() if isinstance(b, FusedBaseline)}
    sizes = {
        category: {"patches": len(memory.patches), "bytes": memory.patches.nbytes}
        for category, memory in sorted(memories.items())
    }
    return {"memory": sizes} if sizes else {}
