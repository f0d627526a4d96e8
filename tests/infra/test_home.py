import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from components.contracts import Settings
from components.contracts.errors import StackError
from infra import _home, _identities, _plan, _processes, _ray, _store, local
from infra._identities import identities, tokens


def test_folder_of_another_layout_is_refused_untouched(settings: Settings, home: Path) -> None:
    home.mkdir()
    (home / "version").write_text("0-from-elsewhere\n")

    with pytest.raises(StackError, match=r"layout 1 .*found layout '0-from-elsewhere'.*DROVER_HOME"):
        local.up(settings)

    assert [path.name for path in home.iterdir()] == ["version"]


def test_full_disk_is_refused_before_anything_starts(home: Path) -> None:
    with pytest.raises(StackError, match=r"expected at least .* GiB free .*DROVER_HOME"):
        _home.prepare_home(home, min_free=2**62)

    assert not (home / "version").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small disk needs root")
def test_really_full_disk_is_refused_before_anything_starts(home: Path) -> None:
    home.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", home], check=False).returncode:
        pytest.skip("no right to mount here")
    try:
        (home / "filler").write_bytes(b"\0" * 2**20)
        with pytest.raises(StackError, match=r"found 0.00 GiB"):
            local.up(Settings(home=home))
        with pytest.raises(OSError, match="No space left"):
            _home.write_private(home / "state.json", "x" * 8192)
        assert [path.name for path in home.iterdir()] == ["filler"]
    finally:
        subprocess.run(["umount", home], check=True)


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StackError, match=r"expected to be able to write to .*file/home"):
        local.up(Settings(home=tmp_path / "file" / "home"))


def test_taken_port_that_the_user_fixed_is_named(home: Path) -> None:
    home.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StackError, match=rf"port {port} to be free, found it taken \(DROVER_PREFECT_PORT"):
            _home.choose_ports(Settings(home=home, prefect_port=port))


def test_ports_are_last_times_where_free_and_others_where_taken(home: Path, settings: Settings) -> None:
    home.mkdir()
    first = _home.choose_ports(settings)
    assert _home.choose_ports(settings) == first
    assert len(set(first.values())) == len(_home.PORTS)

    with socket.create_server(("127.0.0.1", first["prefect"])):
        second = _home.choose_ports(settings)

    assert second["prefect"] != first["prefect"]
    assert {**second, "prefect": 0} == {**first, "prefect": 0}


def test_damaged_port_memory_is_replaced(home: Path, settings: Settings) -> None:
    home.mkdir()
    (home / "ports.json").write_text('{"store": "x"')

    assert set(_home.choose_ports(settings)) == set(_home.PORTS)


def test_credentials_are_random_kept_and_private(tmp_path: Path) -> None:
    first, second = _identities.identities(tmp_path / "a"), _identities.identities(tmp_path / "b")

    assert _identities.identities(tmp_path / "a") == first
    assert first != second
    assert len({identity.secret for identity in (*first.values(), *second.values())}) == 8
    assert stat.S_IMODE((tmp_path / "a" / "credentials.json").stat().st_mode) == 0o600


def test_identity_that_an_older_home_lacks_is_added_and_the_others_stay(tmp_path: Path) -> None:
    first = _identities.identities(tmp_path)
    path = tmp_path / "credentials.json"
    document = json.loads(path.read_text())
    del document["gateway"]
    path.write_text(json.dumps(document))
    second = _identities.identities(tmp_path)

    assert second["gateway"] != first["gateway"]
    assert {**second, "gateway": first["gateway"]} == first
    assert _identities.identities(tmp_path) == second


def test_home_of_an_older_version_gets_the_servers_tokens_and_keeps_its_identities(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    first = identities(tmp_path)
    document = json.loads(path.read_text())
    path.write_text(json.dumps({name: fields for name, fields in document.items() if name != "servers"}))

    second = tokens(tmp_path)

    assert identities(tmp_path) == first
    assert tokens(tmp_path) == second
    assert len({second.prefect, second.prefect_gateway, second.pages, second.serving}) == 4
    assert min(len(second.prefect), len(second.prefect_gateway), len(second.pages), len(second.serving)) >= 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("servers", [[], {"prefect": {}, "pages": []}, "x"])
def test_damaged_tokens_say_what_to_do(tmp_path: Path, servers: object) -> None:
    identities(tmp_path)
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"servers": servers}))

    with pytest.raises(StackError, match=r"credentials.json is damaged .*remove it"):
        tokens(tmp_path)


def test_damaged_credentials_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text("{")

    with pytest.raises(StackError, match=r"credentials.json is damaged .*remove it"):
        _identities.identities(tmp_path)


def test_lock_of_a_killed_holder_is_free(home: Path) -> None:
    home.mkdir()
    code = (
        "from pathlib import Path; from infra import _home; "
        f"lock = _home.lock(Path({str(home)!r})); print(lock.__enter__(), flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"True\n"
        assert _home.is_running(home)
        holder.kill()
        holder.wait()

    assert not _home.is_running(home)


@pytest.fixture
def long_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home below which no socket of Ray's fits."""
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")  # noqa: S108
    home = tmp_path / ("x" * 120)
    home.mkdir()
    return home


def _removed(folder: Path) -> None:
    folder.chmod(0o700)
    folder.rmdir()


def test_ray_folder_fits_the_systems_socket_names_and_is_found_again(tmp_path: Path, long_home: Path) -> None:
    folder = _ray.ray_folder(long_home)
    other = tmp_path / ("y" * 120)
    other.mkdir()
    elsewhere = _ray.ray_folder(other)
    try:
        assert _ray.ray_folder(Path("/home/someone/.drover")) == Path("/home/someone/.drover/ray")
        assert len(str(folder)) + 60 <= 107
        assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        assert _ray.ray_folder(long_home) == folder != elsewhere
    finally:
        _removed(folder.parent)
        _removed(elsewhere.parent)


@pytest.mark.parametrize("how", ["gone", "a link", "open to others", "a file", "no path", "unreadable"])
def test_ray_folder_that_is_not_this_users_alone_any_more_is_replaced(long_home: Path, how: str) -> None:
    first, note = _ray.ray_folder(long_home).parent, long_home / _ray.RAY_FOLDER_NOTE
    if how == "open to others":
        first.chmod(0o755)
    elif how == "no path":
        note.write_text("relative\n")
    elif how == "unreadable":
        note.write_bytes(b"\xff\0")
    else:
        first.rmdir()
        if how == "a link":
            first.symlink_to(long_home)
        elif how == "a file":
            first.write_text("")
    second = _ray.ray_folder(long_home).parent
    try:
        assert second != first
        assert stat.S_IMODE(second.lstat().st_mode) == 0o700
        assert _ray.ray_folder(long_home).parent == second
    finally:
        _removed(second)
        first.rmdir() if first.is_dir() and not first.is_symlink() else first.unlink(missing_ok=True)


def test_no_place_for_rays_sockets_is_told(long_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(long_home))

    with pytest.raises(StackError, match="set DROVER_HOME or TMPDIR to a shorter path"):
        _ray.ray_folder(long_home)
    assert list(long_home.iterdir()) == []


def test_nothing_running_has_no_status_and_nothing_to_end(settings: Settings, home: Path) -> None:
    assert local.status(settings) == []
    assert local.down(settings) == 0
    assert not home.exists()


def test_minio_that_is_not_installed_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(StackError, match=r"`minio` binary on the PATH"):
        _store.minio_command(home, dict.fromkeys(_home.PORTS, 1))


def test_settings_written_by_the_stack_are_read_back_and_outranked_by_the_environment(
    home: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra._supervisor import write_stack_file

    _home.prepare_home(home)
    running = _plan.running_settings(
        settings, dict(zip(_home.PORTS, range(20_000, 21_000), strict=False)), external=False
    )
    write_stack_file(running, "seaweedfs")

    assert Settings(home=home) == running
    monkeypatch.setenv("DROVER_S3_KEY", "mine")
    monkeypatch.setenv("DROVER_HOME", str(home))
    assert Settings() == running.model_copy(update={"s3_key": "mine"})
    assert stat.S_IMODE((home / "stack.json").stat().st_mode) == 0o600
    assert json.loads((home / "stack.json").read_text())["version"] == _home.LAYOUT


def test_every_part_is_given_the_secrets_that_it_uses_and_no_others(home: Path, settings: Settings) -> None:
    _home.prepare_home(home)
    ports = dict(zip(_home.PORTS, range(20_000, 21_000), strict=False))
    running = _plan.running_settings(settings, ports, external=False)
    known, keys = tokens(home), identities(home)
    secrets = {"prefect": known.prefect, "at-prefect": known.prefect_gateway} | {
        "pages": known.pages, "serving": known.serving
    }  # fmt: skip
    secrets |= {f"s3-{name}": identity.secret for name, identity in keys.items()}

    given = {}
    for part in _plan.parts(running, ports, kind="seaweedfs"):
        given[part.name] = {name for name, secret in secrets.items() if secret in part.env.values()}
        line = " ".join(part.command()[0])
        assert not [name for name, secret in secrets.items() if secret in line], part.name

    assert given == {
        "store": set(),  # reads a file of mode 600
        "prefect": {"prefect", "at-prefect"},
        "worker": {"prefect"},
        "ray-page": set(),
        "gateway": {"at-prefect", "s3-gateway"},
        "pages": {"pages", "s3-pages"},
        "serving": {"serving"},
        "ray": set(),
    }


def test_secrets_of_the_users_environment_reach_the_flows_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = {"DROVER_S3_SECRET", "DROVER_GATEWAY_S3_SECRET", "DROVER_PREFECT_AUTH", "DROVER_PAGES_TOKEN"}
    for name in (*secret, "DROVER_S3_KEY", "DROVER_RAY_TOKEN_FILE", "PREFECT_API_AUTH_STRING", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")

    worker, serving = (_processes.environment(home, part, {}) for part in ("worker", "serving"))

    assert secret <= worker.keys()
    assert secret.isdisjoint(serving)
    assert {"DROVER_S3_KEY", "DROVER_RAY_TOKEN_FILE"} <= serving.keys()
    assert {"PREFECT_API_AUTH_STRING", "AWS_SECRET_ACCESS_KEY"}.isdisjoint(worker)


def test_telemetry_is_off_for_every_part(home: Path, settings: Settings) -> None:
    _home.prepare_home(home)
    ports = dict(zip(_home.PORTS, range(20_000, 21_000), strict=False))
    running = _plan.running_settings(settings, ports, external=False)

    for part in _plan.parts(running, ports, kind="seaweedfs"):
        if part.name == "store":
            assert "-master.telemetry=false" in part.command()[0]
        else:
            assert part.env["DO_NOT_TRACK"] == "1"
            assert part.env["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
            assert part.env["RAY_USAGE_STATS_ENABLED"] == "0"
            assert part.env["BENTOML_DO_NOT_TRACK"] == "True"
