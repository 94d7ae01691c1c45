"""Recipes: all settings of a training run in one typed file.

    description: ...            its purpose
    base: fast                  another recipe, by name or file, that this one changes
    encoder_weights: package
    network: {...}              the fields of `NetworkConfig`
    training: {...}             the fields of `TrainingConfig`, with nested parts
    scoring: {...}              the fields of `Scoring`
    images: {...}               the fields of `ImageRule`: conversion of images to inputs

Values missing in a recipe are the paper's. Unknown keys are errors.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from model.errors import ConfigError
from model.images.preprocess import ImageRule
from model.network import NetworkConfig
from model.scoring.scores import Scoring
from model.training.recipe.config import TrainingConfig

BASE, TEXTS = "base", ("description", "encoder_weights")
SECTIONS: dict[str, type] = {
    "network": NetworkConfig,
    "training": TrainingConfig,
    "scoring": Scoring,
    "images": ImageRule,
}
Values = dict[str, Any]

PRESETS: dict[str, Values] = {
    "paper": {"network": {"state_size": 16, "directions": 8}},
    "fast": {"network": {"state_size": 1, "directions": 2}},
}
"""Sizes of the scan for any recipe; benchmarks/results/README.md compares them."""


class Recipe(BaseModel):
    """A validated recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    description: str = ""
    encoder_weights: str = "package"
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    scoring: Scoring = Scoring()
    images: ImageRule = ImageRule()

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "Recipe":
        """Validate nested values; raises `ConfigError` with a suggestion for unknown keys."""
        check_keys(values)
        try:
            return cls.model_validate(
                {k: _sized(v) if k == "network" else v for k, v in values.items() if k != BASE}
            )
        except ValidationError as error:
            raise ConfigError(f"not a recipe: {_faults(error)}") from error

    def check_scales(self) -> None:
        """Raise `ConfigError` if scoring uses scales that are not trained."""
        emphasis = self.training.emphasis
        untrained = emphasis.unused_scales
        if self.scoring.unused_scales < untrained:
            raise ConfigError(
                f"loss_weights {emphasis.loss_weights} leave the finest {untrained} scales "
                f"untrained, but scale_weights {self.scoring.scale_weights} use them: set these "
                "to 0"
            )

    def to_values(self) -> Values:
        """Return every value, including defaults, in YAML's types."""
        texts = {"description": self.description, "encoder_weights": self.encoder_weights}
        sections = {name: _plain(asdict(getattr(self, name))) for name in SECTIONS}
        return texts | sections

    def flat(self) -> Iterator[tuple[str, Any]]:
        """Yield every key, such as training.augmentation.hflip, with its value."""
        for path in paths():
            value: Any = self.to_values()
            for part in path.split("."):
                value = value[part]
            yield path, value

    def to_yaml(self) -> str:
        """Return a file that `read_recipe` reads as this recipe."""
        return yaml.safe_dump(self.to_values(), sort_keys=False, default_flow_style=None, width=100)


def recipe_names() -> list[str]:
    """Return the names of the package's recipes, sorted."""
    folder = resources.files("model.training") / "recipes"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name[-5:] == ".yaml")


def read_recipe(source: str, _seen: tuple[str, ...] = ()) -> Values:
    """Return the values of a recipe, merged over those of its bases.

    `source` is a name of `recipe_names()` or a YAML file. Raises `ConfigError`.
    """
    if source in _seen:
        raise ConfigError(f"the bases of recipes form a circle: {' -> '.join(_seen)}")
    values = _parse(source, _text(source))
    try:
        check_keys(values)
    except ConfigError as error:
        raise ConfigError(f"recipe {source}: {error}") from error
    base = values.pop(BASE, None)
    below: Values = {}
    if base is not None:
        named = str(base)
        beside = Path(source).parent / named
        below = read_recipe(
            named if named in recipe_names() else str(beside), (*_seen, source)
        )  # fmt: skip
    return merge(below, values)


def stated_in(source: str) -> Values:
    """Return the values that a recipe file states itself; none for a named recipe."""
    return {} if source in recipe_names() else _parse(source, _text(source))


def read_with(source: str, settings: Sequence[str]) -> Recipe:
    """Return a recipe, changed by "key=value" settings. Raises `ConfigError`."""
    values = read_recipe(source)
    for text in settings:
        values = merge(values, read_setting(text))
    return Recipe.from_values(values)


def read_preset(name: str) -> Values:
    """Return the values of one of `PRESETS`. Raises `ConfigError`."""
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}{_meant(name, list(PRESETS))}")
    return PRESETS[name]


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> Values:
    """Merge nested values; `above` overrides `below`."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(cast(Values, old), value) if both else value
    return merged


def read_setting(text: str) -> Values:
    """Read "key=value" as nested values.

    The key is a field's name, with as much of its path as needed to be unique, such as "epochs",
    "scoring.sigma" or "augmentation.hflip"; the value is YAML, or numbers like 2,2,2,2.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set needs key=value, got {text!r}")
    matches = [path for path in paths() if f".{path}".endswith(f".{name.strip()}")]
    if not matches:
        raise ConfigError(f"unknown recipe key {name!r}{_meant(name, [*paths(), *_leaves()])}")
    if len(matches) > 1:
        raise ConfigError(f"{name!r} is ambiguous: give {' or '.join(matches)}")
    listed = "," in value and not value.startswith("[")
    return nest(matches[0], value.split(",") if listed else _yaml(text, value))


def nest(path: str, value: object) -> Values:
    """Return {"a": {"b": value}} for the path "a.b"."""
    first, _, below = path.partition(".")
    return {first: nest(below, value) if below else value}


def check_keys(values: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for an unknown key, with a suggestion."""
    _check_keys("", values, [BASE, *TEXTS, *SECTIONS])
    for section, cls in SECTIONS.items():
        if section in values:
            _check_section(section, values[section], cls)


def _check_section(path: str, values: object, cls: type) -> None:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path} must have keys and values, got {values!r}")
    _check_keys(f"{path}.", values, [field.name for field in fields(cls)])
    for field in fields(cls):
        if field.name in values and is_dataclass(field.type) and isinstance(field.type, type):
            _check_section(f"{path}.{field.name}", values[field.name], field.type)


def _check_keys(prefix: str, values: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for key in values:
        if key not in allowed:
            where = [path for path in paths() if path.endswith(f".{key}")]
            hint = f"; did you mean {where[0]}?" if where else _meant(str(key), allowed)
            raise ConfigError(f"unknown recipe key {prefix}{key}{hint}")


def paths() -> Iterator[str]:
    """Yield the path of every value, such as training.augmentation.hflip."""
    yield from TEXTS
    for section, cls in SECTIONS.items():
        yield from _paths_below(section, cls)


def _paths_below(path: str, cls: type) -> Iterator[str]:
    for field in fields(cls):
        if isinstance(field.type, type) and is_dataclass(field.type):
            yield from _paths_below(f"{path}.{field.name}", field.type)
        else:
            yield f"{path}.{field.name}"


def _leaves() -> list[str]:
    return [path.rpartition(".")[2] for path in paths()]


def _meant(name: str, choices: Sequence[str]) -> str:
    return _close(name, choices) or f"; have: {', '.join(choices)}"


def _close(name: str, choices: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _text(source: str) -> str:
    if source in recipe_names():
        return (resources.files("model.training") / "recipes" / f"{source}.yaml").read_text("utf-8")
    try:
        return Path(source).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read a recipe from {source!r}: expected {', '.join(recipe_names())} or a YAML "
            f"file{_close(source, recipe_names())} ({error})"
        ) from error


def _parse(source: str, text: str) -> Values:
    values = _yaml(f"recipe {source}", text)
    if not isinstance(values, dict):
        raise ConfigError(f"recipe {source} must have keys and values, got {values!r}")
    return values


def _yaml(what: str, text: str) -> Any:  # noqa: ANN401 (any YAML type)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{what}: not YAML: {' '.join(str(error).split())}") from error


def _faults(error: ValidationError) -> str:
    """Describe the fault of each value; only one for a list of the wrong length."""
    by_path: dict[str, str] = {}
    missing: Counter[str] = Counter()
    for fault in error.errors():
        path = ".".join(part for part in fault["loc"] if isinstance(part, str))
        got, reason = fault["input"], fault["msg"]
        if fault["type"] == "missing":
            missing[path] += 1
            reason = f"expected {len(got) + missing[path]} values"
        by_path[path] = f"{path}: {reason}, got {got!r}"
    return "; ".join(by_path.values())


def _sized(network: Mapping[str, Any]) -> Values:
    """Convert an image size N or HEIGHTxWIDTH to (height, width)."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", str(network.get("image_size")))
    if match is None:
        return dict(network)
    return {**network, "image_size": (int(match[1]), int(match[2] or match[1]))}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return list(value) if isinstance(value, tuple) else value
