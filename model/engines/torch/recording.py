"""Records the operators that a function of one tensor calls, to repeat them without Python.

A small network calls some 400 operators an image. The Python between them (modules, named
dimensions, argument parsing) takes a tenth of the time of a single image on a CPU, and threads that
compute side by side block each other while they run it. A recording repeats the operators in order
as TorchScript, whose interpreter needs no Python. Values that depend only on constants, such as a
weight's transpose, are computed while recording.
"""

import math
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from model.inference.engine import Lap

Recordable: TypeAlias = Callable[[Tensor, Lap], Tensor]
"""A function that calls the same operators for any values; it calls the lap after each stage."""


class NotRecordable(RuntimeError):
    """A recording cannot repeat a function."""


class Recording:
    """Computes `function` for tensors of the shape and dtype of `example`; thread-safe.

    Raises `NotRecordable` for a function whose operators depend on tensors' values, which changes
    its constants, or which TorchScript cannot express.
    """

    def __init__(self, function: Recordable, example: Tensor) -> None:
        recorder = _Recorder(example)
        with recorder:
            result = function(example, recorder.lap)
        recorder.lap("")
        self._stages = recorder.stages(recorder.slot_of(result))

    def __call__(self, x: Tensor, lap: Lap) -> Tensor:
        """Repeat the operators for another tensor."""
        values = [x]
        # Not optimised: that takes as long as several passes and gains nothing.
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            for stage in self._stages:
                values = stage.run(values, stage.constants)
                if stage.name:
                    lap(stage.name)
        return values[0]


class _Stage(NamedTuple):
    """A part of a function; takes and returns the tensors that cross its borders."""

    name: str
    run: Callable[[list[Tensor], list[Tensor]], list[Tensor]]
    constants: list[Tensor]


class _Step(NamedTuple):
    """One operator call; each argument is a register or a constant value."""

    func: Any
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    out: int


class _Slot(int):
    """The number of a register; registers hold the values that depend on the input."""


_INPUT = _Slot(0)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records every operator call with an argument that depends on the example."""

    def __init__(self, example: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._stages: list[tuple[str, list[_Step]]] = []
        self._steps: list[_Step] = []
        self._slots = {id(example): _INPUT}
        self._references: list[object] = [example]  # so that no id is reused

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Have `__torch_dispatch__` called as it is.

        By default, torch imports its compiler at the first call, only to leave the call out of
        compiling: 2 s and 180 MB.
        """
        return False

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Call the operator, and record the call unless its result is a constant."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self._references += (args, kwargs, result)
        if any(id(leaf) in self._slots for leaf in tree_leaves((args, kwargs))):
            self._record(func, args, kwargs, result)
        return result

    def lap(self, stage: str) -> None:
        """End a stage."""
        self._stages.append((stage, self._steps))
        self._steps = []

    def slot_of(self, result: Tensor) -> _Slot:
        """Return the register of the function's result."""
        if id(result) not in self._slots:
            raise NotRecordable("no operator of torch computes the result from the input")
        return self._slots[id(result)]

    def stages(self, result: _Slot) -> list[_Stage]:
        """Return the compiled stages; the last one returns `result`."""
        stages: list[_Stage] = []
        needed = {result}
        leaving = [result]
        for name, steps in reversed(self._stages):
            for step in reversed(steps):
                needed = needed - {step.out} | _slots(step.arguments)
            entering = sorted(needed)
            stages.insert(0, _compiled(name, steps, entering, leaving))
            leaving = entering
        return stages

    def _record(
        self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], result: object
    ) -> None:
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(kwargs)):
            raise NotRecordable(f"{func} has tensors as keyword arguments")
        written = [
            value
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        if not all(id(leaf) in self._slots for leaf in tree_leaves(written)):
            raise NotRecordable(f"{func} changes a constant")
        arguments = tuple(self._argument(argument) for argument in args)
        if isinstance(result, Tensor):
            self._steps.append(_Step(func, arguments, kwargs, self._computed(result)))
        elif isinstance(result, tuple | list) and all(isinstance(part, Tensor) for part in result):
            parts = self._computed(result)
            self._steps.append(_Step(func, arguments, kwargs, parts))
            for index, part in enumerate(result):
                self._steps.append(_Step(itemgetter, (parts, index), {}, self._computed(part)))
        else:
            kind = type(result).__name__
            raise NotRecordable(f"{func} returns {kind}: the function depends on tensors' values")

    def _argument(self, argument: object) -> object:
        if id(argument) in self._slots:
            return self._slots[id(argument)]
        if isinstance(argument, tuple | list):
            return [self._argument(part) for part in argument]
        return argument

    def _computed(self, value: object) -> _Slot:
        """Return a value's register; after an in-place operator, the one that it already has."""
        return self._slots.setdefault(id(value), _Slot(len(self._slots)))


def _slots(arguments: object) -> set[_Slot]:
    return {leaf for leaf in tree_leaves(arguments) if isinstance(leaf, _Slot)}


def _compiled(
    name: str, steps: Sequence[_Step], entering: Sequence[_Slot], leaving: Sequence[_Slot]
) -> _Stage:
    constants: list[Tensor] = []
    lines = [
        "def run(values: List[Tensor], constants: List[Tensor]) -> List[Tensor]:",
        *(f"v{slot} = values[{index}]" for index, slot in enumerate(entering)),
        *(f"v{step.out} = {_call(step, constants)}" for step in steps),
        f"return [{', '.join(f'v{slot}' for slot in leaving)}]",
    ]
    try:
        unit = torch.jit.CompilationUnit("\n    ".join(lines) + "\n")
    except RuntimeError as error:
        raise NotRecordable(f"TorchScript cannot compile it: {error}") from error
    return _Stage(name, unit.run, constants)


def _call(step: _Step, constants: list[Tensor]) -> str:
    if step.func is itemgetter:
        parts, index = step.arguments
        return f"v{parts}[{index}]"
    types = {argument.name: argument.type for argument in step.func._schema.arguments}
    pairs = zip(step.arguments, types.values(), strict=False)
    arguments = [_typed(*pair, constants) for pair in pairs]
    arguments += [
        f"{key}={_typed(value, types[key], constants)}" for key, value in step.named.items()
    ]
    return f"torch.ops.{step.func._schema.name.replace('::', '.')}({', '.join(arguments)})"


def _typed(value: object, wanted: Any, constants: list[Tensor]) -> str:  # noqa: ANN401 - no name
    """Return an argument as TorchScript, with its type if the elements of a list do not show it."""
    text = _literal(value, constants)
    if not isinstance(value, list):
        return text
    optional = wanted.kind() == "ListType" and wanted.getElementType().kind() == "OptionalType"
    return f"torch.jit.annotate({wanted.annotation_str}, {text})" if optional or not value else text


def _literal(value: object, constants: list[Tensor]) -> str:
    """Return a value as TorchScript; adds a constant tensor to `constants`."""
    if isinstance(value, _Slot):
        return f"v{int(value)}"
    if isinstance(value, Tensor):
        indices = [index for index, constant in enumerate(constants) if constant is value]
        if not indices:
            constants.append(value)
        return f"constants[{indices[0] if indices else len(constants) - 1}]"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_literal(part, constants) for part in value)}]"
    if value is None or isinstance(value, bool | int | str):
        return repr(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, torch.dtype | torch.memory_format | torch.layout):
        return str(value)
    raise NotRecordable(f"TorchScript cannot express the argument {value!r}")
