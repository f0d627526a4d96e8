"""SeaweedFS as the stack starts it: S3 with credentials is the only way in."""

import json
import os
import shutil
import ssl
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from components.contracts import Settings
from components.storage import S3Store

pytestmark = pytest.mark.parametrize("s3", ["seaweedfs"], indirect=True)
INNER = ("store-master", "store-volume", "store-filer", "store-admin")


def _ports(settings: Settings) -> dict[str, int]:
    return {name: int(port) for name, port in json.loads((settings.home / "ports.json").read_text()).items()}


def _status(url: str) -> int | None:
    """HTTP status, None where the connection is refused or broken off."""
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=5, context=unverified) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "path", ["/", "/buckets/inbox/", "/dir/assign", "/dir/status", "/col/delete?collection=models"]
)
def test_inner_ports_answer_nobody_without_the_stacks_certificate(
    s3: Settings, platform: S3Store, scheme: str, path: str
) -> None:
    platform.put("models", "kept", b"1")

    for name in INNER:
        assert _status(f"{scheme}://127.0.0.1:{_ports(s3)[name]}{path}") in {None, 400, 401, 403, 404}

    assert platform.get("models", "kept") == b"1"


def test_inner_grpc_shows_nothing_to_a_shell_without_the_stacks_certificate(s3: Settings, tmp_path: Path) -> None:
    weed = Path(sys.executable).parent / "weed"
    shell = [
        str(weed if weed.exists() else shutil.which("weed")),
        "shell",
        f"-master=127.0.0.1:{_ports(s3)['store-master']}",
    ]

    try:
        output = subprocess.run(
            shell,
            cwd=tmp_path,
            env=os.environ | {"TMPDIR": str(tmp_path)},  # it keeps a log there
            input=b"fs.ls /buckets\n",
            capture_output=True,
            timeout=8,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as expired:
        output = expired.stdout or b""

    assert b"inbox" not in output


def test_s3_without_credentials_is_denied(s3: Settings, platform: S3Store) -> None:
    platform.put("reports", "public", b"1")

    assert _status(f"http://{s3.s3_endpoint}/") == 403
    assert _status(f"http://{s3.s3_endpoint}/reports/public") == 403
    assert _status(f"http://{s3.s3_endpoint}/reports/") == 403


def test_everything_secret_is_the_owners_alone(s3: Settings) -> None:
    secret = [s3.home / "credentials.json", *(path for path in (s3.home / "store").glob("*.*") if path.is_file())]

    assert len(secret) >= 6
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}
    assert stat.S_IMODE(s3.home.stat().st_mode) == 0o700


def test_secrets_are_not_on_the_command_line(s3: Settings) -> None:
    assert s3.s3_secret is not None
    listing = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout

    assert s3.s3_secret.get_secret_value() not in listing


def test_user_environment_makes_no_administrator(s3: Settings) -> None:
    from infra._processes import environment

    os.environ["AWS_ACCESS_KEY_ID"] = "users-own"
    try:
        assert "AWS_ACCESS_KEY_ID" not in environment(s3.home, "store", {})
    finally:
        del os.environ["AWS_ACCESS_KEY_ID"]
