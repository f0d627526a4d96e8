"""A simulated fleet: each robot is a process that runs the robots' own software with a simulated body."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

from components.contracts import canonical_json, plain_logs
from components.contracts.errors import DroverError
from components.episodes import EpisodeAttributes, instruction_for
from components.robot import Recorder, Spool, Uploader, open_gateway

from ._body import Motion
from ._camera import CAMERA_HEIGHT, CAMERA_WIDTH, RENDERER, warm_up
from ._demonstration import Demonstration
from ._plan import PlannedEpisode, plan_fleet

_log = logging.getLogger(__name__)
_LEDGER = "simulated.txt"
_AGENT = "agent"
"""Below a robot's spool: its key and what it keeps of its enrolment."""
_LAST_WORDS_S = 30.0
"""A robot that has said all and not ended by then is ended."""


@dataclass(frozen=True)
class FleetEvent:
    """Something that a robot did."""

    robot: str
    kind: Literal["frame", "recorded", "skipped", "uploaded", "failed"]
    """`skipped`: an earlier run recorded it. `failed`: kept in the spool, not uploaded."""
    episode: str
    detail: str = ""


@dataclass
class FleetReport:
    """What the fleet did, by episode name."""

    planned: int
    recorded: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    uploaded: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Name -> why it was not uploaded; it is kept in the robot's spool."""


@dataclass(frozen=True)
class _Robot:
    """What a robot's process is given."""

    robot: str
    episodes: tuple[PlannedEpisode, ...]
    folder: Path
    uploads: bool
    motion: Motion
    width: int
    height: int


def simulate_fleet(
    enrol: Callable[[str, Path], None] | None,
    spools: Path,
    *,
    robots: int = 4,
    episodes: int = 96,
    seed: int = 0,
    motion: Motion | None = None,
    width: int = CAMERA_WIDTH,
    height: int = CAMERA_HEIGHT,
    progress: Callable[[FleetEvent], None] | None = None,
) -> FleetReport:
    """Let a fleet record and upload demonstrations, each robot in a process of its own.

    An episode depends on seed, index and number of robots alone, down to the file's bytes. Called again over the same
    spools it records what is missing and uploads what waits: episodes that a ledger beside the spool names are not
    recorded again.

    Args:
        enrol: called for each robot with its id and its folder before it starts, so that it may upload, e.g.
            `partial(ingest.enrol_here, store, settings)`. None records without uploading.
        spools: a folder; robot `robot-1` keeps its spool in `spools/robot-1`, its key in `spools/robot-1/agent`.
        robots, episodes, seed: the collection plan, see `plan_fleet`.
        motion: what a press does.
        width, height: of the frames; the camera's aspect. Real robots record 1280x720.
        progress: told of every event, in this process.

    Raises:
        ConfigurationError: a plan that makes no sense, or frames of another aspect.
        DroverError: what `enrol` raises, or a robot's process died. What it recorded is kept: call again to go on.
    """
    plan = plan_fleet(robots, episodes, seed=seed)
    warm_up()  # so that the processes find the compiled camera
    report = FleetReport(planned=len(plan))
    context = get_context("spawn")
    ears: list[Connection] = []
    mouths: list[Connection] = []
    processes: dict[str, BaseProcess] = {}
    for name in sorted({episode.robot for episode in plan}):
        mine = tuple(episode for episode in plan if episode.robot == name)
        if enrol is not None:
            enrol(name, spools / name / _AGENT)
        robot = _Robot(name, mine, spools / name, enrol is not None, motion or Motion(), width, height)
        ear, mouth = context.Pipe(duplex=False)
        ears.append(ear)
        mouths.append(mouth)
        processes[name] = context.Process(target=_live, args=(robot, mouth), name=name, daemon=True)
    with _ended(processes):
        for process in processes.values():
            process.start()
        for mouth in mouths:
            mouth.close()  # the robots hold theirs: when one ends, however it ends, its ear hears that
        for event in _events(ears):
            _note(report, event)
            if progress is not None:
                progress(event)
        for process in processes.values():
            process.join(_LAST_WORDS_S)
    dead = {name: process.exitcode for name, process in processes.items() if process.exitcode != 0}
    if dead:
        raise DroverError(
            "expected every robot to finish, but "
            + ", ".join(f"{name} ended with exit code {code}" for name, code in dead.items())
            + f"; what they recorded is kept in {spools}: run the same again to go on"
        )
    return report


def _events(ears: list[Connection]) -> Iterator[FleetEvent]:
    """Until every robot has ended. Each has a pipe of its own: one that is killed while it speaks silences no other."""
    while ears:
        ready = wait(ears)
        for ear in [ear for ear in ears if ear in ready]:
            try:
                yield ear.recv()
            except (EOFError, OSError):  # OSError: killed in the middle of a word
                ears.remove(ear)


@contextmanager
def _ended(processes: dict[str, BaseProcess]) -> Iterator[None]:
    """No robot outlives this block, also not on Ctrl-C."""
    try:
        yield
    finally:
        for process in processes.values():
            if process.is_alive():
                process.terminate()
        for process in processes.values():
            if process.pid is not None:
                process.join()


def _note(report: FleetReport, event: FleetEvent) -> None:
    if event.kind == "recorded":
        report.recorded.append(event.episode)
    elif event.kind == "skipped":
        report.skipped.append(event.episode)
    elif event.kind == "uploaded":
        report.uploaded.append(event.episode)
    elif event.kind == "failed":
        report.failed[event.episode] = event.detail


def _live(robot: _Robot, events: Connection) -> None:
    """A robot's process: record session by session, upload after each."""
    plain_logs()
    parent = os.getppid()
    spool = Spool(robot.folder)
    spool.recover()
    recorder = Recorder(spool, robot.robot)
    uploader = Uploader(spool, open_gateway(robot.folder / _AGENT)) if robot.uploads else None
    ledger = robot.folder / _LEDGER
    done = set(ledger.read_text().splitlines()) if ledger.exists() else set()
    session = ""
    for planned in robot.episodes:
        if os.getppid() != parent:
            return  # whoever asked for it is gone
        if uploader and session not in {"", planned.session}:
            _upload(uploader, robot, events)
        session = planned.session
        entry = f"{planned.name} {_fingerprint(planned, robot)}"
        if entry in done or spool.path_of(planned.name).exists():
            events.send(FleetEvent(robot.robot, "skipped", planned.name))
            continue
        _record(planned, robot, recorder, events)
        with ledger.open("a") as file:
            file.write(entry + "\n")
    if uploader:
        _upload(uploader, robot, events)


def _fingerprint(planned: PlannedEpisode, robot: _Robot) -> str:
    """Of everything that decides the episode's frames."""
    facts = {"seed": planned.seed, "motion": asdict(robot.motion), "size": [robot.width, robot.height]}
    return hashlib.sha256(canonical_json(facts | {"renderer": RENDERER})).hexdigest()[:16]


def _record(planned: PlannedEpisode, robot: _Robot, recorder: Recorder, events: Connection) -> None:
    drive = Demonstration(planned.scenario(), motion=robot.motion, width=robot.width, height=robot.height)
    recorder.start(attributes_of(planned), height=robot.height, width=robot.width)
    for frame in drive:
        recorder.append(frame.image, frame.action, frame.event, elapsed_s=frame.elapsed_s)
        events.send(FleetEvent(robot.robot, "frame", planned.name))
    recorder.finish()
    if not drive.outcome.success:
        _log.warning("%s: the operator failed: %s", planned.name, drive.outcome)
    events.send(FleetEvent(robot.robot, "recorded", planned.name))


def attributes_of(planned: PlannedEpisode) -> EpisodeAttributes:
    """What the file of a planned episode says of itself."""
    return EpisodeAttributes(
        name=planned.name,
        robot=planned.robot,
        session=planned.session,
        collected_at=planned.recorded_at,
        instruction=instruction_for(planned.scenario_name),
        source="simulated",
        renderer=RENDERER,
        scenario=planned.scenario_name,
        position=planned.scenario().position,
        time_period="morning" if planned.recorded_at.hour < 12 else "afternoon",
    )


def _upload(uploader: Uploader, robot: _Robot, events: Connection) -> None:
    report = uploader.sync()
    for name in report.sent:
        events.send(FleetEvent(robot.robot, "uploaded", name))
    for name, reason in report.failed.items():
        events.send(FleetEvent(robot.robot, "failed", name, reason))
