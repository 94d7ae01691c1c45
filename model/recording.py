"""A function of one tensor as the operators that it called, to be called again without the rest.

A small network calls some 400 operators an image, and the Python between them (modules, tensors
shaped by name, arguments looked through) takes a tenth of a lone image's time on a CPU, during
which no other thread can run any. A recording holds the operators alone, in their order. What
follows from constants, such as a weight's transpose, was computed while recording.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from model.engine import Lap

Recordable: TypeAlias = Callable[[Tensor, Lap], Tensor]
"""A function that calls the same operators whatever values its tensor holds; laps tell of stages"""


class NotRecordable(RuntimeError):
    """A function does what a recording cannot repeat."""


class Recording:
    """What `function` computes, for tensors of the shape and dtype of `example`.

    It may be called by several threads at once. Raises `NotRecordable` for a function whose
    operators follow from values that it looks at, or which changes its constants.
    """

    def __init__(self, function: Recordable, example: Tensor) -> None:
        recorder = _Recorder(example)
        with recorder:
            result = function(example, recorder.lap)
        recorder.lap("")  # the steps after the last lap; usually none
        self._result = recorder.slot_of(result)
        self._registers = recorder.constants()
        self._stages = tuple(_without_the_dead(recorder.stages, self._result))

    def __call__(self, x: Tensor, lap: Lap) -> Tensor:
        """Call the operators again, for another tensor."""
        registers = self._registers.copy()
        registers[_INPUT] = x
        for stage, steps in self._stages:
            for call, arguments, out, dead in steps:
                registers[out] = call(*arguments(registers))
                for slot in dead:
                    registers[slot] = None
            if stage:
                lap(stage)
        result: Tensor = registers[self._result]
        return result


class _Noted(NamedTuple):
    """A call, and the registers of its arguments and of what it returns."""

    call: Callable[..., Any]
    arguments: tuple[int, ...]
    out: int


_Step: TypeAlias = tuple[
    Callable[..., Any], Callable[[list[Any]], Sequence[Any]], int, tuple[int, ...]
]
"""A noted call as it is made: the arguments are picked, and then some registers are done with."""

_INPUT = 0


class _Recorder(TorchDispatchMode):
    """Notes every operator whose arguments follow from the example."""

    def __init__(self, example: Tensor) -> None:
        super().__init__()
        self.stages: list[tuple[str, list[_Noted]]] = []
        self._steps: list[_Noted] = []
        self._registers: list[Any] = [example]  # also keeps every id from being given away again
        self._slots = {id(example): _INPUT}
        self._constants: dict[int, int] = {}
        self._kept: list[object] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call the operator, and note the call unless its result is a constant."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self._follow((args, kwargs)):
            self._note(func, args, kwargs, result)
        else:
            self._kept.append(result)
        return result

    def lap(self, stage: str) -> None:
        """End a stage."""
        self.stages.append((stage, self._steps))
        self._steps = []

    def slot_of(self, result: Tensor) -> int:
        """Return the register of what the function returned."""
        if id(result) not in self._slots:
            raise NotRecordable("the result does not follow from the input by operators of torch")
        return self._slots[id(result)]

    def constants(self) -> list[Any]:
        """Return all registers as they are before a call."""
        kept = set(self._constants.values())
        return [value if slot in kept else None for slot, value in enumerate(self._registers)]

    def _note(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: object
    ) -> None:
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(kwargs)):
            raise NotRecordable(f"{func} takes tensors by name")
        written = (
            value
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
        )
        if not all(id(leaf) in self._slots for leaf in tree_leaves(list(written))):
            raise NotRecordable(f"{func} changes a constant")
        arguments = tuple(self._register(argument) for argument in args)
        call = partial(func, **kwargs) if kwargs else func
        if isinstance(result, Tensor):
            self._steps.append(_Noted(call, arguments, self._computed(result)))
        elif isinstance(result, tuple | list) and all(isinstance(one, Tensor) for one in result):
            whole = self._new(result)
            self._steps.append(_Noted(call, arguments, whole))
            for index, one in enumerate(result):
                self._steps.append(_Noted(itemgetter(index), (whole,), self._computed(one)))
        else:
            raise NotRecordable(f"{func} returns {type(result).__name__}: values are looked at")

    def _register(self, argument: Any) -> int:
        """Return the register that holds an argument when it is needed."""
        if id(argument) in self._slots:
            return self._slots[id(argument)]
        if not self._follow(argument):
            if id(argument) not in self._constants:
                self._constants[id(argument)] = self._new(argument)
            return self._constants[id(argument)]
        parts = tuple(self._register(part) for part in argument)
        whole = self._new(argument)
        self._steps.append(_Noted(_listed, parts, whole))
        return whole

    def _computed(self, tensor: Tensor) -> int:
        """Return a tensor's register: its own again where an operator worked in place."""
        if id(tensor) not in self._slots:
            self._slots[id(tensor)] = self._new(tensor)
        return self._slots[id(tensor)]

    def _new(self, value: object) -> int:
        self._registers.append(value)
        return len(self._registers) - 1

    def _follow(self, values: object) -> bool:
        """Say whether any of these follows from the example."""
        return any(id(leaf) in self._slots for leaf in tree_leaves(values))


def _listed(*parts: Any) -> list[Any]:
    return list(parts)


def _without_the_dead(
    stages: Iterable[tuple[str, list[_Noted]]], result: int
) -> Iterable[tuple[str, tuple[_Step, ...]]]:
    """Let go of each register after the last step that needs it, or made it for nobody."""
    stages = list(stages)
    computed = {step.out for _, steps in stages for step in steps}
    last = {
        slot: step
        for _, steps in stages
        for step in steps
        for slot in (step.out, *step.arguments)
        if slot in computed and slot != result
    }
    dead: dict[int, list[int]] = {}
    for slot, step in last.items():
        dead.setdefault(id(step), []).append(slot)
    for stage, steps in stages:
        yield (
            stage,
            tuple(
                (step.call, _picker(step.arguments), step.out, tuple(dead.get(id(step), ())))
                for step in steps
            ),
        )


def _picker(slots: tuple[int, ...]) -> Callable[[list[Any]], Sequence[Any]]:
    """Return what picks these registers, one or more, in C."""
    if len(slots) == 1:
        return itemgetter(slice(slots[0], slots[0] + 1))
    return itemgetter(*slots)
