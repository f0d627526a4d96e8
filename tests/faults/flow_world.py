"""A small real platform for flows: SeaweedFS, a Prefect server, and flows that run in processes of their own, which are
killed, or held up, just before a request to the store.
"""

import multiprocessing
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import psutil

from components.contracts import (
    SPLITS,
    DatasetSpec,
    DatasetVersion,
    EpisodeRecord,
    Frozen,
    Settings,
    TrainedMembers,
    TrainingPlan,
)
from components.datasets import build_dataset, load_split, select
from components.episodes import (
    KEYS,
    SCENARIOS,
    EpisodeAttributes,
    EpisodeWriter,
    instruction_for,
    make_name,
    measure,
    read_episode,
)
from components.ingest import records, register_robot
from components.storage import BUCKETS, OverlayStore, S3Store, connect, fetch, keep_page, sha256_of_file
from infra import _processes
from infra._prefect import client_environment
from infra.local import Running, some_parts
from tests.faults.fleet_world import World
from tests.keys import public_key
from tests.reports import make_ensemble, make_report

F = TypeVar("F", bound=Frozen)
ROBOTS = ("robot-0", "robot-1")
_PRELOADED = (
    "flows.ingest_episodes", "flows.train_and_promote", "components.ingest", "components.checks._suite",
    "components.datasets", "components.promotion", "torch",
)  # fmt: skip


class Fault(Protocol):
    """Set up inside the flow's process."""

    def install(self) -> None: ...


@dataclass(frozen=True)
class KillBefore:
    """SIGKILL before the `number`-th request to the store that begins like `request`, e.g. `PUT /models/rollouts/`."""

    request: str
    number: int = 1

    def install(self) -> None:
        left = self.number

        def hook(request: str) -> None:
            nonlocal left
            if re.match(self.request, request):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        _on_request(hook)


@dataclass(frozen=True)
class HoldBefore:
    """Before the first request like each of `requests`: say which over `line`, and wait until there is an answer."""

    requests: tuple[str, ...]
    line: Connection

    def install(self) -> None:
        left, lock = list(self.requests), threading.Lock()

        def hook(request: str) -> None:
            with lock:
                for pattern in [item for item in left if re.match(item, request)]:
                    left.remove(pattern)
                    self.line.send(pattern)
                    self.line.recv()

        _on_request(hook)


def _on_request(hook: Callable[[str], None]) -> None:
    """Python's own audit event of an HTTP request that is about to be sent."""

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "http.client.send" and isinstance(arguments[1], bytes | memoryview):
            first, ended, _ = bytes(memoryview(arguments[1])[:8192]).partition(b"\r\n")
            if ended and first.endswith(b" HTTP/1.1"):
                hook(first.decode())

    sys.addaudithook(audit)


class FlowWorld:
    """One platform in `root`. The store can be taken down and comes back on the same port."""

    def __init__(self, root: Path, prefect: dict[str, str]) -> None:
        self._root, self.prefect = root, prefect
        self._running = ExitStack()
        self._server: Running | None = None
        self.start_store()

    def empty(self) -> None:
        """As it was before any flow ran."""
        store = self.store
        for bucket in BUCKETS:
            for info in store.list(bucket):
                store.remove(bucket, info.key)
        shutil.rmtree(self.settings.home, ignore_errors=True)

    def start_store(self) -> None:
        self._server = self._running.enter_context(some_parts(Settings(home=self._root / "store"), "store"))

    def kill_store(self) -> None:
        """SIGKILL; it stays down until `start_store`."""
        assert self._server is not None
        pid = self._server.pid("store")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self._running.close()

    def close(self) -> None:
        self._running.close()

    @property
    def settings(self) -> Settings:
        """The platform's. Keys and training runs lie in a folder of its own."""
        assert self._server is not None
        return self._server.settings.model_copy(update={"home": self._root / "home"})

    @property
    def store(self) -> S3Store:
        return connect(self.settings, patience=5.0)

    def start(self, work: Callable[[], object], fault: Fault | None = None) -> "multiprocessing.process.BaseProcess":
        """Begin `work`, of a module's top level, in a process of its own."""
        settings = self.settings
        assert settings.s3_secret is not None
        env = {
            "DROVER_HOME": str(settings.home),
            "DROVER_S3_ENDPOINT": str(settings.s3_endpoint),
            "DROVER_S3_KEY": str(settings.s3_key),
            "DROVER_S3_SECRET": settings.s3_secret.get_secret_value(),
        }
        arguments = (env | self.prefect, work, fault)
        process = multiprocessing.get_context("forkserver").Process(target=_begin, args=arguments)
        process.start()
        return process

    def run(self, work: Callable[[], object], fault: Fault | None = None, *, seconds: float = 300.0) -> int:
        """The exit status of `work`, negative for a signal. No process that it started is left."""
        process = self.start(work, fault)
        process.join(seconds)
        assert process.exitcode is not None, f"{work} is still at work after {seconds} s"
        session = process.pid
        assert _processes.wait_until(lambda: not _of_session(session), 30.0), _of_session(session)
        return process.exitcode

    def record(self, number: int) -> Path:
        """An episode's file, as a robot writes it; always the same one."""
        scenario = SCENARIOS[number % 8]
        name = make_name(datetime(2025, 8, 15, 10, tzinfo=UTC) + timedelta(minutes=number), scenario)
        attributes = EpisodeAttributes(
            name=name, robot=f"robot-{number // 2 % 2}", session=f"s{number // 2}",
            instruction=instruction_for(scenario), source="simulated",
        )  # fmt: skip
        path, random = self._root / f"{name}.h5", np.random.default_rng(number)
        if path.exists():
            return path
        with EpisodeWriter(path, attributes, 72, 128, sync=False) as writer:
            for index, key in enumerate(("space", "W", "W", "Q" if "left" in scenario else "E", "W", "space")):
                image = random.integers(0, 256, (72, 128, 3), dtype=np.uint8)
                event = "start_action" if index else "episode_start"
                writer.append(image, KEYS[key], event, elapsed_s=index * 1.5)
        return path

    def upload(self, number: int) -> str:
        """As the gateway puts it together; its SHA-256."""
        path = self.record(number)
        sha256 = sha256_of_file(path)
        self.store.put_file("inbox", f"robot-{number // 2 % 2}/{sha256}/{path.stem}.h5", path)
        return sha256

    def admit(self, numbers: Iterable[int]) -> None:
        """Episodes as ingest leaves them."""
        for number in numbers:
            path = self.record(number)
            sha256 = sha256_of_file(path)
            file = self.store.put_file("episodes", f"{sha256}.h5", path)
            summary = measure(read_episode(path), sha256=sha256, robot=f"robot-{number // 2 % 2}")
            record = EpisodeRecord(file=file, summary=summary)
            self.store.put("episodes", f"{sha256}.json", record.canonical_json())

    def remember_proven_policy(self, spec: DatasetSpec, plan: TrainingPlan) -> None:
        """Results that the stages up to the package remember when a policy has passed them that the gate promotes.

        The dataset is the one that its stage will make of the admitted episodes; it is not remembered.
        """
        spec, episodes = select(self.store, spec, records(self.store))
        maker = World(self._root / "maker", robots=())
        ensemble, report = make_ensemble(), make_report(success=0.9)
        members = TrainedMembers(members=ensemble.members)
        package = maker.package(tag="proven").model_copy(
            update={"evaluation": report.digest(), "subject": report.subject}
        )
        for info in maker.store.list("models", "blobs/"):
            self.store.put("models", info.key, maker.store.get("models", info.key))
        for seed, robot in enumerate(ROBOTS):
            register_robot(self.store, robot, public_key(seed), hardware="simulated")
        remember = _Stages(self.store).remember
        version = build_dataset(OverlayStore(self.store, self._root / "overlay"), spec, episodes)
        trained = [remember(stage, members, version, plan) for stage in ("train", "tune")]
        remember("ensemble", ensemble, version, trained)
        remember("evaluate", report, version, trained, ensemble, None, plan)
        keep_page(self.store, report.page_key, b"<p>evaluated")
        remember("package", package, version, ensemble, report)

    def expect_nothing_half_written(self) -> None:
        """Whatever a reader can find leads to whole bytes."""
        store = self.store
        for record in records(store):
            fetch(store, record.file)
        for info in store.list("datasets", "versions/"):
            version = DatasetVersion.parse(store.get("datasets", info.key), source=info.key)
            for split in SPLITS:
                load_split(store, version, split)  # checks each shard's hash


class _Stages:
    """Results that stages of the flow remember, without their work."""

    def __init__(self, store: S3Store) -> None:
        from flows._tasks import Stages

        self._stages = Stages(store)

    def remember(self, name: str, result: F, *inputs: object) -> F:
        class Stage:
            def __call__(self, *_inputs: object) -> F:
                return result

        stage = Stage()
        stage.name = name  # type: ignore[attr-defined]
        return self._stages.run(stage, type(result), *inputs)  # type: ignore[arg-type]


@contextmanager
def flow_world(root: Path) -> Iterator[FlowWorld]:
    """The platform while it is open. What flows import is loaded once, in the process that theirs are forked from."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(_PRELOADED))
    with some_parts(Settings(home=root / "prefect"), "prefect") as server:
        world = FlowWorld(root, client_environment(server.settings))
        try:
            yield world
        finally:
            world.close()
            forkserver._forkserver._stop()  # type: ignore[attr-defined]


def _begin(env: dict[str, str], work: Callable[[], object], fault: Fault | None) -> None:
    os.setsid()  # whatever it starts can be told by its session
    os.environ |= env
    with as_prefects_client(env):
        if fault:
            fault.install()
        work()


def as_prefects_client(env: dict[str, str]) -> AbstractContextManager[object]:
    """Prefect's settings with its address and credential of `env`: those of the environment are read at its import."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    return temporary_settings(
        {PREFECT_API_URL: env["PREFECT_API_URL"], PREFECT_API_AUTH_STRING: env["PREFECT_API_AUTH_STRING"]}
    )


def _of_session(session: int | None) -> list[str]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        try:
            if os.getsid(process.pid) == session and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.info["cmdline"] or ()))
        except (ProcessLookupError, PermissionError):
            continue
    return found
