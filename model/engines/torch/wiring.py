"""Finds which submodules feed which, by watching a module compute an example."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

_Value: TypeAlias = tuple[int, int]
"""A tensor at one moment: its id, and how often it had been changed in place."""


class Wiring:
    """The connections between submodules of `module` while it computes `module(example)`.

    `inputs` holds the input of each submodule that was called with a single tensor.
    """

    @torch.no_grad()
    def __init__(self, module: nn.Module, example: object) -> None:
        self.inputs: dict[str, Tensor] = {}
        self._outputs: dict[str, Tensor] = {}
        self._takes: dict[str, _Value] = {}
        self._gives: dict[str, _Value] = {}
        self._calls: Counter[str] = Counter()
        hooks = [hook for name, child in module.named_modules() for hook in self._on(child, name)]
        try:
            with _Watch() as watch:
                results = module(example)
        finally:
            for hook in hooks:
                hook.remove()
        self._uses = watch.uses + Counter(_value(t) for t in _tensors(results))

    def pairs(self, first: Callable[[str], bool], second: Callable[[str], bool]) -> dict[str, str]:
        """Return the pairs of submodules in which the second takes the result of the first.

        Only pairs in which nothing else takes that result, and each was called exactly once.
        """
        takers = {value: name for name, value in self._takes.items() if second(name)}
        once = {name for name, calls in self._calls.items() if calls == 1}
        candidates = {name: takers.get(value) for name, value in self._gives.items() if first(name)}
        return {
            name: taker
            for name, taker in candidates.items()
            if taker is not None and {name, taker} <= once and self._uses[self._gives[name]] == 1
        }

    def _on(self, module: nn.Module, name: str) -> tuple[Any, Any]:
        def before(_: nn.Module, inputs: tuple[object, ...]) -> None:
            self._calls[name] += 1
            if len(inputs) == 1 and isinstance(inputs[0], Tensor):
                self.inputs[name], self._takes[name] = inputs[0], _value(inputs[0])

        def after(_: nn.Module, __: object, result: object) -> None:
            if isinstance(result, Tensor):
                self._outputs[name], self._gives[name] = result, _value(result)

        return module.register_forward_pre_hook(before), module.register_forward_hook(after)


class _Watch(TorchFunctionMode):
    """Counts, for each value, the torch functions that computed a tensor from it."""

    def __init__(self) -> None:
        super().__init__()
        self.uses: Counter[_Value] = Counter()
        self._references: list[Any] = []  # so that no id is reused

    def __torch_function__(
        self, func: Callable[..., object], types: object, args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:  # fmt: skip
        taken = {_value(tensor) for tensor in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        if any(True for _ in _tensors(result)):  # not counted: reading its shape
            self.uses.update(taken)
            self._references.append((args, kwargs, result))
        return result


def _value(tensor: Tensor) -> _Value:
    return id(tensor), tensor._version


def _tensors(tree: object) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
