"""The whole stack, for real. One start serves all the questions that a running stack can answer."""

import base64
import json
import os
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from components.contracts import Settings
from components.contracts.errors import StackError, StorageError
from components.storage import connect, keep_page
from infra import _processes, local

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PARTS = ["supervisor", "store", "prefect", "ray", "ray-page", "pages", "gateway", "worker", "serving"]


def _get(url: str, credential: str = "") -> str:
    request = urllib.request.Request(url, headers=_basic(credential))  # noqa: S310
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        return str(answer.read().decode())


def _filter(settings: Settings, kind: str) -> list[dict[str, object]]:
    """Ask Prefect for all objects of a kind, with the stack's credential."""
    assert settings.prefect_auth is not None
    headers = {"Content-Type": "application/json"} | _basic(settings.prefect_auth.get_secret_value())
    request = urllib.request.Request(  # noqa: S310
        f"{settings.prefect_api_url}/{kind}/filter", data=b"{}", headers=headers
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        return list(json.loads(answer.read()))


def _basic(credential: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(credential.encode()).decode()} if credential else {}


def _row(settings: Settings, name: str) -> local.PartStatus:
    return next(row for row in local.status(settings) if row.name == name)


def _kill_and_wait(settings: Settings, name: str) -> None:
    before = _row(settings, name)
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)

    def back() -> bool:
        row = _row(settings, name)
        return row.restarts == before.restarts + 1 and row.state == "running"

    assert _processes.wait_until(back, 180, every=0.5), _row(settings, name)


def test_stack_lives_its_life(home: Path) -> None:
    first = local.up(Settings(home=home))

    # it is up, and everything answers where it says
    assert [row.name for row in first] == PARTS
    assert [row.state for row in first] == ["running"] * 8 + ["waiting"]
    assert {row.name: row.note for row in first if row.note}.keys() == {"serving"}
    assert sum(row.memory_mib for row in first) < 1500
    settings = Settings(home=home)
    assert stat.S_IMODE((home / "stack.json").stat().st_mode) == 0o600
    store, robot = connect(settings), connect(settings, identity="robot")
    keep_page(store, "evaluations/x/report.html", b"<p>seen")
    assert settings.pages_token is not None
    password = f"drover:{settings.pages_token.get_secret_value()}"
    assert _get(f"{settings.pages_url}/evaluations/x/report.html", password) == "<p>seen"
    store.put("datasets", "x", b"1")
    for bucket in ("inbox", "releases", "reports"):
        with pytest.raises(StorageError, match="not allowed"):
            robot.put(bucket, "x", b"1")
    assert _get(f"{settings.gateway_url}/healthz") == '{"ok":true}'
    assert "success" in _get(f"{settings.ray_dashboard_url}/api/gcs_healthz")
    deployments = {str(row["name"]) for row in _filter(settings, "deployments")}
    assert {"on-demand", "nightly", "scheduled", "on-upload"} <= deployments
    assert [row["type"] for row in _filter(settings, "work_pools")] == ["process"]

    # everything listens on loopback alone
    pids = set(local.processes(settings))
    for connection in psutil.net_connections("tcp"):
        if connection.pid in pids and connection.status == psutil.CONN_LISTEN:
            assert connection.laddr.ip.removeprefix("::ffff:") in {"127.0.0.1", "::1"}, connection

    # a second `up` finds the first
    second = local.up(Settings(home=home))
    assert [(row.name, row.pid, row.since) for row in second] == [(row.name, row.pid, row.since) for row in first]
    with pytest.raises(StackError, match="runs already"):
        local.run(Settings(home=home))

    # what dies comes back, at the same address, with its data
    for name in ("store", "pages", "gateway", "prefect"):
        _kill_and_wait(settings, name)
    assert connect(settings, patience=30).get("datasets", "x") == b"1"
    assert {str(row["name"]) for row in _filter(settings, "deployments")} == deployments

    # the supervisor killed: leftovers are seen, and the next `up` starts over with the same data and addresses
    os.kill(_row(settings, "supervisor").pid or 0, signal.SIGKILL)
    _processes.wait_until(lambda: not local._home.is_running(home), 10)
    left = local.status(settings)
    assert {row.state for row in left} == {"left over"}
    assert {row.name for row in left} >= {"store", "prefect", "ray"}
    third = local.up(Settings(home=home))
    assert [row.where for row in third] == [row.where for row in first]
    assert Settings(home=home) == settings
    assert connect(settings).get("datasets", "x") == b"1"
    assert {row.pid for row in third}.isdisjoint({row.pid for row in second} - {None})

    # and `down` leaves nothing
    assert local.down(settings) > 5
    assert list(_processes.marked(home)) == []
    assert local.status(settings) == []
    assert not (home / "stack.json").exists()
    with pytest.raises(urllib.error.URLError):
        _get(f"{settings.prefect_api_url}/health")


def test_interrupted_foreground_ends_everything(home: Path) -> None:
    code = "from components.contracts import Settings; from infra import local; local.run(Settings())"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"DROVER_HOME": str(home)}, stderr=subprocess.DEVNULL
    )
    assert _processes.wait_until(lambda: (home / "state.json").exists() and len(list(_processes.marked(home))) > 4, 60)

    process.send_signal(signal.SIGINT)

    assert process.wait(90) == 0
    assert list(_processes.marked(home)) == []
    assert not (home / "stack.json").exists()


def test_fixed_port_taken_is_told_by_up_and_nothing_is_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("DROVER_PREFECT_PORT", str(other.getsockname()[1]))
        with pytest.raises(StackError, match="DROVER_PREFECT_PORT"):
            local.up(Settings(home=home))

    assert list(_processes.marked(home)) == []


def test_users_own_store_is_used_and_none_is_started(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local.store_alone(Settings(home=tmp_path / "elsewhere")) as theirs:
        assert theirs.s3_secret is not None
        monkeypatch.setenv("DROVER_S3_ENDPOINT", str(theirs.s3_endpoint))
        monkeypatch.setenv("DROVER_S3_KEY", str(theirs.s3_key))
        monkeypatch.setenv("DROVER_S3_SECRET", theirs.s3_secret.get_secret_value())
        rows = local.up(Settings(home=home))

        assert [row.name for row in rows] == [name for name in PARTS if name != "store"]
        for name in ("ENDPOINT", "KEY", "SECRET"):
            monkeypatch.delenv(f"DROVER_S3_{name}")
        settings = Settings(home=home)
        assert settings.s3_endpoint == theirs.s3_endpoint
        assert connect(settings).stat("models", "x") is None
        assert [row.pid for row in local.up(Settings(home=home))] == [row.pid for row in rows]
        local.down(settings)
