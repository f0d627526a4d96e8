"""A small real world: a folder as the object store, a signed repository, enrolled robots, and packages so light that a
test can publish many. Store, TUF, agent, journal and slots are the product's own; the package's graphs are replaced by
a few words that a small bench and a small trial driver obey.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from securesystemslib.signer import CryptoSigner

from components.contracts import (
    AXES,
    Budget,
    FrameSpec,
    Latency,
    Lineage,
    ObjectRef,
    PackageManifest,
    PolicyPackage,
    Release,
    SelfTestResult,
    SignedReport,
    Tolerances,
)
from components.contracts.errors import GatewayError, PackageError, PolicyError, StorageError
from components.ingest import accept_report, enrolled_robot
from components.ingest._problems import Refused
from components.promotion import KeyRing, ReleaseRepository, enrol_robot, make_demo_keys
from components.robot import Fingerprint, Runtime, TrialResult, UpdateAgent, open_agent, verify_package
from components.storage import FolderStore, ObjectStore, S3Store, put_once

NOW = datetime.now(UTC).replace(microsecond=0)
SIMULATED = Fingerprint(module="simulated")
NO_EVIDENCE = "0" * 64


class Clock:
    """A clock that a test moves."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **span: float) -> None:
        self.now += timedelta(**span)


class LightBench:
    """Verifies as the product does; its self-test asks the package's words for `self_test`."""

    def verify(self, package: Path, sha256: str) -> None:
        verify_package(package, sha256=sha256)

    def build(self, package: Path) -> None:
        if words(package).get("build"):
            raise PackageError(words(package)["build"])

    def self_test(self, package: Path, sha256: str) -> SelfTestResult:
        verify_package(package, sha256=sha256)
        failure = words(package).get("self_test")
        latency = Latency(p50_ms=5, p95_ms=6, p99_ms=7, n=10, hardware="test", provider="CPUExecutionProvider")
        return SelfTestResult(
            passed=failure is None, failures=(failure,) if failure else (), package=sha256, provider=latency.provider,
            nodes={latency.provider: 1}, pixels_error=0, features_error=0, actions_error=0, scores_error=0,
            latency=latency, memory_mib=100,
        )  # fmt: skip


def light_trials(package: Path, *, trials: int, seed: int, sha256: str) -> Iterator[TrialResult]:
    """Drives as the package's words say: `fails` names the trials that do not succeed, `fault` what goes wrong."""
    said = words(package)
    for number in range(seed, seed + trials):
        if said.get("crash"):
            raise PolicyError("the policy process died")
        fault = said.get("fault")
        yield TrialResult(success=fault is None and number not in said.get("fails", []), fault=fault)


def real_trials(package: Path, *, trials: int, seed: int, sha256: str) -> Iterator[TrialResult]:
    """Lets a real package act on a few grey frames."""
    runtime = Runtime(package, sha256=sha256)
    for _ in range(trials):
        runtime.reset(" ".join(runtime.manifest.vocabulary[:8]))
        actions = [runtime.act(np.full((90, 160, 3), 120, dtype=np.uint8)) for _ in range(3)]
        yield TrialResult(success=all(np.isfinite(action).all() for action in actions))


def keep_package(store: ObjectStore, folder: Path) -> PolicyPackage:
    """Put a package's folder where packaging would."""
    manifest = PackageManifest.parse((folder / "manifest.json").read_bytes(), source=str(folder))
    refs = {}
    for name in ("manifest.json", *manifest.files):
        data = (folder / name).read_bytes()
        refs[name] = put_once(store, "models", f"blobs/{sha(data)}", data)
    return PolicyPackage(
        manifest=refs.pop("manifest.json"), files=refs, parity_max=manifest.parity_max,
        latency=Latency(p50_ms=5, p95_ms=6, p99_ms=7, n=10, hardware="test", provider="CPUExecutionProvider"),
        evaluation=manifest.evaluation, subject=manifest.policy,
    )  # fmt: skip


def words(package: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(onnx.ModelProto.FromString((package / "step.onnx").read_bytes()).doc_string)
    return said


def saying(text: str) -> bytes:
    """A graph of nothing but words."""
    data: bytes = onnx.ModelProto(ir_version=10, doc_string=text).SerializeToString()
    return data


class StoreReports:
    """Takes reports as the gateway does, by its own function, without HTTP between."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def report(self, signed: SignedReport) -> None:
        try:
            robot = enrolled_robot(self.store, signed.report.robot)
            assert robot is not None
            answer = accept_report(self.store, robot, signed)
        except StorageError as error:
            raise GatewayError("away", str(error)) from None
        except Refused as refusal:
            raise GatewayError(refusal.code, str(refusal)) from None
        assert answer.sha256 == signed.digest()


class World:
    """One fleet."""

    def __init__(self, root: Path, *, robots: tuple[str, ...] = ("robot-1",), clock: Clock | None = None) -> None:
        self.root, self.clock = root, clock or Clock()
        self.store = FolderStore(root / "store")
        self.keys = make_demo_keys(root / "keys")
        self.repository = self.publisher()
        self.repository.create()
        for robot in robots:
            enrol_robot(self.store, self.repository, robot, self.home(robot), hardware="simulated")

    def publisher(self, *, lease_s: float = 2.0, store: ObjectStore | None = None) -> ReleaseRepository:
        return ReleaseRepository(store or self.store, self.root / "keys", clock=self.clock, lease_s=lease_s)

    def home(self, robot: str) -> Path:
        return self.root / "homes" / robot

    def package(self, *, size: int = 2000, extra: dict[str, bytes] | None = None, **said: Any) -> PolicyPackage:
        files = {
            "encode.onnx": saying(sha(repr(sorted(said.items())).encode()) * (size // 64)),
            "step.onnx": saying(json.dumps(said, sort_keys=True)),
            "golden.safetensors": b"\x02\0\0\0\0\0\0\0{}",
        } | (extra or {})
        manifest = PackageManifest(
            policy="light", frame=FrameSpec(), action_space="keys", axes=AXES, action_low=(-1.15,) * 3,
            action_high=(1.15,) * 3, vocabulary=("go",), max_tokens=16, encode_inputs=(), encode_outputs=(),
            step_inputs=(), step_outputs=(), files={name: sha(data) for name, data in files.items()},
            sizes={name: len(data) for name, data in files.items()}, tolerances=Tolerances(), budget=Budget(),
            parity_max=1e-6, evaluation=NO_EVIDENCE, dataset=NO_EVIDENCE,
            lineage=Lineage(code_revision="test", python="3.11", packages={}, machine="test"),
        )  # fmt: skip
        return PolicyPackage(
            manifest=self._put(manifest.canonical_json()),
            files={name: self._put(data) for name, data in files.items()},
            parity_max=1e-6,
            latency=Latency(p50_ms=5, p95_ms=6, p99_ms=7, n=10, hardware="test", provider="CPUExecutionProvider"),
            evaluation=NO_EVIDENCE,
            subject="light",
        )

    def release(self, name: str | None = None, **said: Any) -> Release:
        """Sign a package that behaves as said; `tag` makes it another one."""
        return self.repository.publish_release(self.package(**said), name=name)

    def assign(self, release: Release | None, robot: str = "robot-1", *, trials: int = 2, **terms: Any) -> int:
        assigned = self.repository.assign(robot, release, deployment="d1", trials=trials, min_success=0.5, **terms)
        return assigned.seq

    def agent(self, robot: str = "robot-1", **options: Any) -> AbstractContextManager[UpdateAgent]:
        options = {"trials": light_trials, "bench": LightBench(), "fingerprint": SIMULATED} | options
        store = options.pop("store", self.store)
        options.setdefault("clock", self.clock)
        options.setdefault("reports", StoreReports(store))
        return open_agent(robot, self.home(robot), store, **options)

    def tick(self, robot: str = "robot-1", **options: Any) -> str | None:
        """One tick of a fresh agent process's state; what drives afterwards."""
        with self.agent(robot, **options) as agent:
            agent.tick()
        return self.drives(robot)

    def drives(self, robot: str = "robot-1") -> str | None:
        """The release that `current` leads to, checked byte by byte as a runtime would; None: the safe stop."""
        link = self.home(robot) / "current"
        if not link.exists():
            assert not link.is_symlink(), "a link that leads nowhere"
            return None
        verify_package(link.resolve())
        record = json.loads(link.resolve().with_suffix(".json").read_bytes())
        return str(record["release"]["name"])

    def reports(self, robot: str = "robot-1") -> list[dict[str, Any]]:
        """Everything that a robot said, oldest first."""
        keys = sorted(info.key for info in self.store.list("reports", f"robots/{robot}/"))
        return [json.loads(self.store.get("reports", key))["report"] for key in keys]

    def target(self, path: str) -> Path:
        """A published target's file, so that a test can damage it."""
        folder, _, name = path.rpartition("/")
        (found,) = (self.store.root / "releases" / "targets" / folder).glob(f"*.{name}")
        return found

    def metadata(self, name: str) -> Path:
        return self.store.root / "releases" / "metadata" / name

    def thief(self, *roles: str) -> ReleaseRepository:
        """Someone who stole these roles' keys (`releases-1`: that one key) and signs with whatever he has."""
        folder = self.root / f"stolen-{'-'.join(roles)}"
        folder.mkdir(exist_ok=True)
        shutil.copyfile(self.root / "keys" / "root.json", folder / "root.json")
        for role in roles:
            for key in (self.root / "keys").glob(f"{role}*.pem"):
                shutil.copy2(key, folder / key.name)
        repository = ReleaseRepository(self.store, folder, clock=self.clock, lease_s=2.0)
        repository.keys = repository.metadata.keys = StolenKeys(folder)
        return repository

    def _put(self, data: bytes) -> ObjectRef:
        return self.store.put("models", f"blobs/{sha(data)}", data)


class StolenKeys(KeyRing):
    """Signs a role with its stolen keys, however few, or else with the director's."""

    def signers(self, role: str, keyids: Iterable[str], threshold: int) -> list[CryptoSigner]:
        return self.all(role) or self.all("director")


class DeadStore:
    """Nobody answers: a real client at a port that nobody listens on."""

    def __new__(cls) -> Any:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return S3Store(f"127.0.0.1:{port}", "key", "secret", patience=0.05)


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked process; its exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001  # whatever it is, the parent is told by the status
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_me_at(number: int) -> None:
    """SIGKILL this process when it is about to touch the disk for the `number`-th time."""
    seen = 0

    def hook(event: str, _arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in DISK_EVENTS:
            seen += 1
            if seen == number:
                kill_me()

    sys.addaudithook(hook)


DISK_EVENTS = {"open", "os.rename", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate"}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
