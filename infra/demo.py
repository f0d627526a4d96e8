"""`make demo`: the whole loop on this machine, and one table of what came out.

    stack -> robots record and upload -> ingest -> train and promote -> the fleet takes the release -> the Bento serves

The stages run as they would any day: robots and agents are processes, flows are runs that the Prefect UI shows.
Everything may be run again: what is there already is found, not made twice. The stack stays up for its links.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import httpx

from components import preflight
from components.contracts import IngestSummary, RolloutState, RunSummary, Settings, TrainingRequest
from components.contracts.errors import DroverError, ObjectNotFoundError
from components.storage import ObjectStore, connect, prepare, sign_in_url
from components.terminal import Console

from . import _meter, local
from ._demo_result import DemoResult
from ._demo_table import show
from ._demo_tally import Findings, tally
from ._prefect import client_environment
from ._telemetry import OFF
from .bar import bar

if TYPE_CHECKING:
    from components.robot import Uploader

_FLEET_S = 300.0
_SERVING_S = 60.0
_SHUTDOWN_S = 20.0


def run_demo(*, robots: int, episodes: int, console: Console) -> DemoResult:
    """Run everything, print the table, and return what it shows.

    Raises:
        DroverError: a stage failed; what was done is kept, and the next run goes on from there.
    """
    started = time.monotonic()
    stages = Stages(console)
    fleet = tuple(f"robot-{number}" for number in range(1, robots + 1))
    with ExitStack() as open_things:
        meter = open_things.enter_context(_meter.MemoryMeter(lambda: [os.getpid(), *local.processes(Settings())]))
        with stages.stage("stack"):
            local.up(Settings())
        settings = Settings()
        store = connect(settings)
        prepare(store)
        with stages.stage("robots record"):
            _record(settings, store, fleet, episodes)
        with stages.stage("ingest"):
            _run_flow("flows.ingest_episodes")
        with stages.stage("robots collect receipts"):
            _collect_receipts(settings, fleet)
        preflight.require(store, settings, TrainingRequest())
        for robot in fleet:
            open_things.enter_context(_agent(settings, store, robot))
        with stages.stage("train and promote"):
            _run_flow("flows.train_and_promote")
        run = RunSummary.parse(store.get("models", "runs/latest.json"), source="the flow's summary")
        with stages.stage("fleet"):
            rollout = _settle_rollouts(store)
        with stages.stage("serving"):
            findings = Findings(
                run=run,
                ingest=_last_ingest(store),
                rollout=rollout,
                endpoint=_measure_endpoint(settings, store),
                fleet=fleet,
            )
    result = tally(
        settings, store, findings, timings=stages.timings, wall_s=time.monotonic() - started, peak_mib=meter.peak_mib
    )
    show(result.model_copy(update={"links": _signed_in(settings, result.links)}), console)
    console.print("Prefect, Ray and the Bento ask for what `drover status --secrets` prints.", style="dim")
    return result


def _signed_in(settings: Settings, links: dict[str, str]) -> dict[str, str]:
    """The links as they are printed: the page server's sign a browser in, which one that is kept must not."""
    pages = f"{settings.pages_url}/"
    return {
        name: sign_in_url(settings, url.removeprefix(pages)) if url.startswith(pages) else url
        for name, url in links.items()
    }


class Stages:
    """Names and times what the demo does, and says so while it does it."""

    def __init__(self, console: Console) -> None:
        self.timings: list[tuple[str, float]] = []
        self._console = console

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._console.print(f"{len(self.timings) + 1}. {name}", style="bold")
        started = time.monotonic()
        yield
        self.timings.append((name, round(time.monotonic() - started, 1)))


def _record(settings: Settings, store: ObjectStore, fleet: tuple[str, ...], episodes: int) -> None:
    from components import ingest, simulation

    enrol = partial(ingest.enrol_here, store, settings, hardware="simulated")
    spools = settings.home / "robots"
    for robot in fleet:  # also those that have nothing to record
        enrol(robot, spools / robot / "agent")
    with bar("episodes") as show_progress:
        done: set[str] = set()

        def note(event: simulation.FleetEvent) -> None:
            if event.kind in {"recorded", "skipped"}:
                done.add(event.episode)
                show_progress(len(done), episodes)

        report = simulation.simulate_fleet(enrol, spools, robots=len(fleet), episodes=episodes, progress=note)
    if report.failed:
        name, why = next(iter(report.failed.items()))
        raise DroverError(f"{len(report.failed)} episodes were not uploaded, {name} for one: {why}; they are kept")
    simulation.plant_bad_episodes(_uploader(settings, "robot-1"))


def _collect_receipts(settings: Settings, fleet: tuple[str, ...]) -> None:
    """Every robot asks once more: what has a receipt leaves its disk."""
    for robot in fleet:
        _uploader(settings, robot).sync()


def _uploader(settings: Settings, name: str) -> "Uploader":
    from components import robot

    folder = settings.home / "robots" / name
    return robot.Uploader(robot.Spool(folder), robot.open_gateway(folder / "agent"))


@contextmanager
def _agent(settings: Settings, store: ObjectStore, robot: str) -> Iterator[None]:
    """An enrolled robot's update agent, as a process."""
    from components import promotion

    home = settings.home / "robots" / robot / "agent"
    promotion.enrol_robot(store, promotion.open_repository(store, settings), robot, home, hardware="simulated")
    module = ["-m", "components.robot.agent_main", "--robot", robot, "--home", str(home), "--hardware", "simulated"]
    driver = ["--trial-driver", "components.simulation:drive_package"]
    with (settings.home / "logs" / f"agent-{robot}.log").open("ab") as log:
        process = subprocess.Popen([sys.executable, *module, *driver], stdout=log, stderr=log, env=_environment())
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(_SHUTDOWN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _run_flow(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module], env=_flow_environment(), check=False)
    if done.returncode != 0:
        raise DroverError(f"the flow {module} failed; what was done is kept: run the same again, or see the Prefect UI")


def _environment() -> dict[str, str]:
    return {**os.environ, **OFF, "DROVER_HOME": str(Settings().home)}


def _flow_environment() -> dict[str, str]:
    quiet = {"PREFECT_LOGGING_LEVEL": "WARNING", "PREFECT_LOGGING_MARKUP": "false"}
    return _environment() | client_environment(Settings()) | quiet


def _settle_rollouts(store: ObjectStore) -> RolloutState | None:
    """Step the rollouts until none runs, as the schedule would, and show the fleet's progress."""
    from components import promotion

    deadline = time.monotonic() + _FLEET_S
    with bar("robots on the release") as show_progress:
        while True:
            states = promotion.advance(store, Settings())
            if states:
                show_progress(len(states[-1].committed), len(states[-1].plan.robots))
            if not any(state.status == "running" for state in states):
                break
            if time.monotonic() > deadline:
                raise DroverError(f"the rollout did not settle in {_FLEET_S:g} s: {states[-1].reason}")
            time.sleep(1)
    everyone = promotion.rollouts(store)
    return max(everyone, key=lambda state: state.plan.number, default=None)


def _measure_endpoint(settings: Settings, store: ObjectStore) -> tuple[float, float, int] | None:
    """Serve what was promoted, then time it: p50 and p95 in ms, and the number of requests."""
    from components import packaging, promotion

    incumbent = promotion.find_incumbent(store)
    if incumbent is None or settings.serving_url is None:
        return None
    folder = packaging.serve_package(store, incumbent.package, settings.home, release=incumbent.release.name)
    _wait_for(lambda: _serves(settings, incumbent.package.sha256), _SERVING_S, "the Bento")
    jpegs, instruction = packaging.golden_request(folder)
    latency = packaging.measure_endpoint(settings.serving_url, jpegs, instruction, token=settings.serving_token, n=100)
    return latency.p50_ms, latency.p95_ms, latency.n


def _serves(settings: Settings, package: str) -> bool:
    """Whether the Bento answers, and with this package."""
    token = settings.serving_token
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
    try:
        answer = httpx.get(f"{settings.serving_url}/policy", headers=headers, timeout=5, trust_env=False)
        return answer.status_code == httpx.codes.OK and bool(answer.json()["package"] == package)
    except httpx.HTTPError:
        return False


def _wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DroverError(f"{what} did not answer within {seconds:g} s; see `drover status`")
        time.sleep(0.5)


def _last_ingest(store: ObjectStore) -> IngestSummary | None:
    try:
        return IngestSummary.parse(store.get("models", "runs/latest-ingest.json"), source="the ingest flow's summary")
    except ObjectNotFoundError:
        return None
