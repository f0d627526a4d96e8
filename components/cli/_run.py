"""`drover run FLOW`: start a flow on the running stack, follow it, and say how it ended."""

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

from components.contracts import Settings, TrainingRequest
from components.contracts.errors import ConfigurationError, StackError
from components.terminal import Console, PlainColumn, styled

from ._console import console

if TYPE_CHECKING:
    from infra.runs import LogLine, Run, Runs, Stage

_FLOWS = ("train-and-promote", "ingest-episodes")
_POLL_S = 1.0
_AWAY_S = 180.0
"""The stack starts Prefect again when it dies; a run goes on meanwhile."""
_UNTAKEN_S = 60.0
_REFUSED = 3
"""Exit status where the gate refused: nothing failed, and nothing was released. `drover demo` has the same."""


def run(
    flow: Annotated[str, typer.Argument(help="train-and-promote or ingest-episodes.")],
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", help="key=value, the value as JSON or as text; a dot names a field: dataset.source=robot."
        ),
    ] = None,
    *,
    detach: Annotated[bool, typer.Option("--detach", help="Do not follow it.")] = False,
) -> None:
    """Start a flow on the running stack and follow it; Ctrl-C leaves it running."""
    if flow not in _FLOWS:
        raise ConfigurationError(f"expected a flow: {' or '.join(_FLOWS)}, got {flow!r}")
    from infra.runs import open_runs

    settings = Settings()
    with open_runs(settings) as runs:
        checked = _checked(settings, flow, _parsed(parameters or ()))
        started = runs.start(flow, checked)
        console.print(f"{flow} {started.name} is started: {runs.page(started)}")
        if detach:
            console.print(f"follow it with `drover logs {started.name} --follow`")
            return
        try:
            ended = _follow(runs, started)
        except KeyboardInterrupt:
            console.print(
                f"{flow} {started.name} goes on; `drover logs {started.name} --follow` shows it, "
                f"and `prefect flow-run cancel {started.id}` ends it"
            )
            raise typer.Exit(130) from None
        _conclude(runs, flow, ended)


def _parsed(said: Sequence[str]) -> dict[str, Any]:
    """`key=value` and `key.field=value` as one document."""
    found: dict[str, Any] = {}
    for item in said:
        key, sign, text = item.partition("=")
        if not sign or not key:
            raise ConfigurationError(f"-p: expected key=value, got {item!r}")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        *parents, last = key.split(".")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigurationError(f"-p: {key} names a field of {parent}, which another -p sets to {place!r}")
        if last in place:
            raise ConfigurationError(f"-p: expected {key} once, got it twice")
        place[last] = value
    return found


def _checked(settings: Settings, flow: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters, once nothing speaks against them.

    Raises:
        ConfigurationError: parameters that the flow does not take, or a run that would fail; with every fault.
    """
    if flow != "train-and-promote":
        if parameters:
            raise ConfigurationError(f"{flow} takes no parameters, got {', '.join(parameters)}")
        return parameters
    request = TrainingRequest.of(parameters)
    from components import preflight, storage

    for warning in preflight.require(storage.connect(settings), settings, request):
        console.print(styled(("warning:", "yellow"), f" {warning}"))
    return parameters


def _follow(runs: "Runs", started: "Run") -> "Run":
    """Show the stages until the run is over."""
    console_progress = _Shown(started)
    seen = time.monotonic()
    with console_progress:
        while True:
            try:
                now = runs.refresh(started)
                console_progress.show(now, runs.stages(now), runs.logs(now, last=1))
                seen = time.monotonic()
            except StackError:
                if time.monotonic() - seen > _AWAY_S:
                    raise
                console_progress.note("Prefect does not answer; asked again")
            else:
                if now.is_over:
                    return now
            time.sleep(_POLL_S)


class _Shown:
    """A line for each stage: alive on a terminal, one at its begin and one at its end elsewhere."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._since = time.monotonic()
        self._alive = console.is_terminal
        self._said: dict[str, str] = {}
        self._tasks: dict[str, Any] = {}
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            PlainColumn("{task.description:<12}"),
            TimeElapsedColumn(),
            PlainColumn("{task.fields[note]}"),
            console=Console(),
            disable=not self._alive,
        )

    def __enter__(self) -> "_Shown":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, run: "Run", stages: "Sequence[Stage]", newest: "Sequence[LogLine]") -> None:
        """What became of the run since."""
        if run.state in {"SCHEDULED", "PENDING"}:
            waited = time.monotonic() - self._since
            late = "; no worker has taken it yet, see `drover status`" if waited > _UNTAKEN_S else ""
            behind = " behind another run" if run.title == "AwaitingConcurrencySlot" else ""
            self.note(f"waiting{behind}{late}")
            return
        self._forget_note()
        running = [stage for stage in stages if not stage.is_over]
        for stage in stages:
            told = newest[-1].text.partition("\n")[0] if newest and running and stage is running[-1] else ""
            self._stage(stage, told)

    def note(self, text: str) -> None:
        """Something about the run as a whole."""
        if self._alive:
            if "" not in self._tasks:
                self._tasks[""] = self._bars.add_task(self._run.name, total=1, note=text)
            self._bars.update(self._tasks[""], note=text)
        elif self._said.get("") != text:
            console.print(f"  {text}")
        self._said[""] = text

    def _forget_note(self) -> None:
        self._said.pop("", None)
        if (task := self._tasks.pop("", None)) is not None:
            self._bars.remove_task(task)

    def _stage(self, stage: "Stage", told: str) -> None:
        before, self._said[stage.id] = self._said.get(stage.id), stage.state
        if self._alive:
            if stage.id not in self._tasks:
                self._tasks[stage.id] = self._bars.add_task(stage.name, total=1, note="")
            note = told if not stage.is_over else "" if stage.state == "COMPLETED" else stage.state.lower()
            width = max(console.width - 30, 20)
            self._bars.update(self._tasks[stage.id], completed=int(stage.is_over), note=note[:width])
        elif before != stage.state:
            took = f" after {stage.seconds:.0f} s" if stage.is_over else ""
            console.print(f"  {stage.name}: {stage.state.lower()}{took}")


def _conclude(runs: "Runs", flow: str, ended: "Run") -> None:
    """The outcome and its reason; exit status 0 only where the flow did its work."""
    if ended.succeeded:
        said = f": {ended.message}" if ended.message else ""
        console.print(styled(f"{flow} {ended.name}: ", (ended.title, "green"), said))
        if ended.title == "Refused":
            raise typer.Exit(_REFUSED)
        return
    console.print(styled(f"{flow} {ended.name}: ", (ended.title.lower(), "red"), f" after {ended.seconds:.0f} s"))
    for line in runs.reason(ended).split("\n"):
        console.print(f"  {line}")
    console.print(f"its log: drover logs {ended.name}")
    raise typer.Exit(1)
