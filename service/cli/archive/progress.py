"""Progress bars on stderr, so that a command's output can be piped."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

T = TypeVar("T")
_STDERR = Console(stderr=True)


def counted(items: Iterable[T], noun: str, *, shown: bool = True) -> Iterator[T]:
    """Yield the items, and show how many there were; nobody knows their number."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed} {task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=_STDERR, transient=True, disable=not (shown and _STDERR.is_terminal)
    ) as progress:
        task = progress.add_task(noun, total=None)
        for item in items:
            yield item
            progress.advance(task)


@contextmanager
def fractions() -> Iterator[Callable[[str, float], None]]:
    """Show a bar for each step of a task; call with the step's name and the fraction done."""
    columns = (
        TextColumn("{task.description:10}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
    )
    with Progress(
        *columns, console=_STDERR, transient=True, disable=not _STDERR.is_terminal
    ) as progress:
        tasks = {}

        def show(step: str, fraction: float) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=1.0)
            progress.update(tasks[step], completed=fraction)

        yield show
