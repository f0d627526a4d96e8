"""`drover robot join | upload | status`, as a person types them, against a real gateway and store."""

import os
import subprocess
import sys
from pathlib import Path

from components.contracts import Settings
from components.ingest import invite_robot
from components.promotion import fleet, hear, open_repository
from components.robot import RobotIdentity, Spool
from components.storage import FolderStore, connect, prepare
from infra.local import store_alone
from tests.faults.fleet_world import World
from tests.faults.upload_world import UploadWorld
from tests.ingest.gateway_world import GatewayWorld


def _drover(environment: dict[str, str], *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("DROVER_")}
    return subprocess.run(
        [sys.executable, "-c", "from components.cli import main; main()", "robot", *arguments],
        env=clean | {"COLUMNS": "200"} | environment, input=typed,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_robot_joins_with_a_token_uploads_without_credentials_and_says_how_it_stands(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "one.h5").write_bytes(os.urandom(5000))
    with store_alone(Settings(home=tmp_path / "platform")) as settings:
        prepare(connect(settings))
        world = UploadWorld(settings, tmp_path)
        with world.gateway() as url:
            here = {"DROVER_HOME": str(tmp_path / "robot")}
            token = invite_robot(world.store, "robot-7")
            (tmp_path / "robot").mkdir(mode=0o755)
            wrong = _drover(here | {"DROVER_JOIN_TOKEN": "w" * 32}, "join", "robot-7", "--gateway", url)
            short = _drover(here, "join", "robot-7", "--gateway", url, "--token", "-", typed="short\n")
            joined = _drover(here | {"DROVER_JOIN_TOKEN": token}, "join", "robot-7", "--gateway", url)
            typed = invite_robot(world.store, "robot-8")
            piped = _drover(here, "join", "robot-8", "--gateway", url, "--token", "-", typed=f"{typed}\n")
            sent = _drover(here, "upload", str(files), "--robot", "robot-7")
            waiting = _drover(here, "status", "robot-7")
            world.confirm("robot-7", files / "one.h5")
            confirmed = _drover(here, "upload", "--robot", "robot-7")
            nothing = _drover(here, "upload", "--robot", "robot-7")
        away = _drover(here, "upload", str(files), "--robot", "robot-7")

    assert (wrong.returncode, "bad-token" in wrong.stderr) == (1, True)
    assert joined.returncode == 0, joined.stderr
    assert (short.returncode, "got 5 characters" in short.stderr) == (1, True)
    assert piped.returncode == 0, piped.stderr
    assert not [said for said in (joined, piped) if token in said.stdout + said.stderr or typed in said.stdout]
    made = [tmp_path / "robot", *(tmp_path / "robot").rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o600}
    assert (sent.returncode, "sent" in sent.stdout) == (0, True), sent.stderr
    assert waiting.returncode == 0, waiting.stderr
    assert "sent, not confirmed    1" in waiting.stdout
    assert "accepted" in confirmed.stdout
    assert "nothing waits" in nothing.stdout
    assert (away.returncode, "accepted" in away.stdout) == (0, True)  # the receipt is kept: nobody needs to be asked


def test_an_enrolled_robots_agent_reports_through_the_gateway_with_no_right_to_write(tmp_path: Path) -> None:
    """Key for key what a person on the platform's machine does; the package is none that passes a self-test."""
    with store_alone(Settings(home=tmp_path / "home")) as settings:
        prepare(connect(settings))
        with GatewayWorld(settings).open() as gateway:
            store = gateway.store
            secrets = {
                name: getattr(settings, name).get_secret_value() if name.endswith("secret") else getattr(settings, name)
                for name in ("s3_endpoint", "s3_key", "s3_secret", "robot_s3_key", "robot_s3_secret")
            }
            here = {f"DROVER_{name.upper()}": str(value) for name, value in secrets.items()}
            here |= {"DROVER_HOME": str(settings.home)}
            driver = ("--trial-driver", "components.simulation:drive_package")
            agent = ("agent", "robot-7", "--hardware", "simulated", "--once", *driver)
            enrolled = _drover(
                here | {"DROVER_GATEWAY_URL": gateway.url}, "enrol", "robot-7", "--hardware", "simulated"
            )
            repository = open_repository(store, settings)
            package = World(tmp_path / "elsewhere").package(tag="one")
            for ref in (package.manifest, *package.files.values()):
                data = FolderStore(tmp_path / "elsewhere" / "store").get(ref.bucket, ref.key)
                store.put(ref.bucket, ref.key, data)
            repository.assign("robot-7", repository.publish_release(package), deployment="d1")
            sent = _drover(here, *agent)
            elsewhere = _drover(here | {"DROVER_HOME": str(tmp_path / "other")}, *agent)
            (settings.home / "robots" / "robot-7" / "agent" / "robot_key.pem").unlink()
            keyless = _drover(here, *agent)
            heard = hear(store, fleet(store))

    assert enrolled.returncode == 0, enrolled.stderr
    assert sent.returncode == 0, sent.stderr
    assert (elsewhere.returncode, keyless.returncode) == (1, 1)
    assert "robot-7 is enrolled with hardware simulated" in " ".join(elsewhere.stderr.split())
    assert "found none on this machine" in " ".join(elsewhere.stderr.split())
    assert "expected the key of robot-7" in " ".join(keyless.stderr.split())
    assert (heard.latest["robot-7"].state, heard.alarms, heard.doubts) == ("QUARANTINE", (), {})


def test_a_status_with_an_alarm_ends_with_1_and_a_wrong_name_is_told(tmp_path: Path) -> None:
    here = {"DROVER_HOME": str(tmp_path)}
    from components.robot import Spool

    Spool(tmp_path / "robots" / "robot-1").journal.alarm("gateway", "it does not answer")
    alarmed = _drover(here, "status", "robot-1")
    unknown = _drover(here, "status", "robot-2")

    assert (alarmed.returncode, "ALARM gateway" in alarmed.stdout) == (1, True)
    assert (unknown.returncode, "is that its name?" in unknown.stderr) == (1, True)


def test_robots_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "home" / "robots" / "robot-7"
    Spool(home)
    RobotIdentity(home / "agent")
    made = [tmp_path / "home", home, home / "quarantine", home / "agent"]
    assert {path.stat().st_mode & 0o777 for path in made} == {0o700}
