"""One progress bar for one thing that is counted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from components.terminal import Console, PlainColumn


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """`with bar("episodes") as show: show(done, total)`, on standard error."""
    columns = (PlainColumn("   {task.description}"), BarColumn(32), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
