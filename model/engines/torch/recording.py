"""A function of one tensor as the operators that it called, to be called again without the rest.

A small network calls some 400 operators an image. The Python between them (modules, tensors shaped
by name, arguments looked through) takes a tenth of a lone image's time on a CPU, and wherever two
threads compute side by side, each holds the other up while it runs any. A recording is those
operators in their order, as TorchScript, whose interpreter needs no Python. What follows from
constants, such as a weight's transpose, was computed while recording.
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
"""A function that calls the same operators whatever values its tensor holds; laps tell of stages"""


class NotRecordable(RuntimeError):
    """A function does what a recording cannot repeat."""


class Recording:
    """What `function` computes, for tensors of the shape and dtype of `example`.

    It may be called by several threads at once. Raises `NotRecordable` for a function whose
    operators follow from values that it looks at, which changes its constants, or which TorchScript
    cannot say.
    """

    def __init__(self, function: Recordable, example: Tensor) -> None:
        recorder = _Recorder(example)
        with recorder:
            result = function(example, recorder.lap)
        recorder.lap("")
        self._stages = recorder.stages(recorder.slot_of(result))

    def __call__(self, x: Tensor, lap: Lap) -> Tensor:
        """Call the operators again, for another tensor."""
        values = [x]
        # As it was written: to optimise it takes as long as some passes, and brings nothing.
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            for stage in self._stages:
                values = stage.run(values, stage.constants)
                if stage.name:
                    lap(stage.name)
        return values[0]


class _Stage(NamedTuple):
    """A part of a function, which takes and returns whatever tensors cross its borders."""

    name: str
    run: Callable[[list[Tensor], list[Tensor]], list[Tensor]]
    constants: list[Tensor]


class _Step(NamedTuple):
    """An operator as it was called: the arguments are registers, or stand for themselves."""

    func: Any
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    out: int


class _Slot(int):
    """The number of a register, which holds what follows from the example."""


_INPUT = _Slot(0)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operator whose arguments follow from the example."""

    def __init__(self, example: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._stages: list[tuple[str, list[_Step]]] = []
        self._steps: list[_Step] = []
        self._slots = {id(example): _INPUT}
        self._kept: list[object] = [example]  # so that no id is given away again

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Call the operator, and note the call unless its result is a constant."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self._kept += (args, kwargs, result)
        if any(id(leaf) in self._slots for leaf in tree_leaves((args, kwargs))):
            self._note(func, args, kwargs, result)
        return result

    def lap(self, stage: str) -> None:
        """End a stage."""
        self._stages.append((stage, self._steps))
        self._steps = []

    def slot_of(self, result: Tensor) -> _Slot:
        """Return the register of what the function returned."""
        if id(result) not in self._slots:
            raise NotRecordable("the result does not follow from the input by operators of torch")
        return self._slots[id(result)]

    def stages(self, result: _Slot) -> list[_Stage]:
        """Return the stages, compiled; the last one returns `result`."""
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

    def _note(
        self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], result: object
    ) -> None:
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(kwargs)):
            raise NotRecordable(f"{func} takes tensors by name")
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
        elif isinstance(result, tuple | list) and all(isinstance(one, Tensor) for one in result):
            whole = self._computed(result)
            self._steps.append(_Step(func, arguments, kwargs, whole))
            for index, one in enumerate(result):
                self._steps.append(_Step(itemgetter, (whole, index), {}, self._computed(one)))
        else:
            raise NotRecordable(f"{func} returns {type(result).__name__}: values are looked at")

    def _argument(self, argument: object) -> object:
        if id(argument) in self._slots:
            return self._slots[id(argument)]
        if isinstance(argument, tuple | list):
            return [self._argument(part) for part in argument]
        return argument

    def _computed(self, value: object) -> _Slot:
        """Return a value's register: its own again where an operator worked in place."""
        return self._slots.setdefault(id(value), _Slot(len(self._slots)))


def _slots(arguments: object) -> set[_Slot]:
    return {leaf for leaf in tree_leaves(arguments) if isinstance(leaf, _Slot)}


def _compiled(
    name: str, steps: Sequence[_Step], entering: Sequence[_Slot], leaving: Sequence[_Slot]
) -> _Stage:
    """Write down the steps as TorchScript, and have it compiled."""
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
        raise NotRecordable(f"TorchScript does not take it: {error}") from error
    return _Stage(name, unit.run, constants)


def _call(step: _Step, constants: list[Tensor]) -> str:
    if step.func is itemgetter:
        whole, index = step.arguments
        return f"v{whole}[{index}]"
    types = {argument.name: argument.type for argument in step.func._schema.arguments}
    given = [_typed(*pair, constants) for pair in zip(step.arguments, types.values(), strict=False)]
    given += [f"{key}={_typed(value, types[key], constants)}" for key, value in step.named.items()]
    return f"torch.ops.{step.func._schema.name.replace('::', '.')}({', '.join(given)})"


def _typed(value: object, wanted: Any, constants: list[Tensor]) -> str:  # noqa: ANN401 - no name
    """Write down an argument; lists whose elements do not tell their type with it."""
    text = _literal(value, constants)
    if not isinstance(value, list):
        return text
    optional = wanted.kind() == "ListType" and wanted.getElementType().kind() == "OptionalType"
    return f"torch.jit.annotate({wanted.annotation_str}, {text})" if optional or not value else text


def _literal(value: object, constants: list[Tensor]) -> str:
    """Write down a value; a constant tensor becomes one of `constants`."""
    if isinstance(value, _Slot):
        return f"v{int(value)}"
    if isinstance(value, Tensor):
        known = [index for index, constant in enumerate(constants) if constant is value]
        if not known:
            constants.append(value)
        return f"constants[{known[0] if known else len(constants) - 1}]"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_literal(part, constants) for part in value)}]"
    if value is None or isinstance(value, bool | int | str):
        return repr(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, torch.dtype | torch.memory_format | torch.layout):
        return str(value)
    raise NotRecordable(f"an argument {value!r} has no words in TorchScript")
