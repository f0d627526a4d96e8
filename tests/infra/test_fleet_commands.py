"""`drover robot invite|list|revoke` against a running store and gateway, as a person types them."""

import os
import subprocess
import sys
from pathlib import Path

from components.contracts import Settings
from infra.local import some_parts


def test_robot_is_invited_joins_is_listed_and_revoked(home: Path) -> None:
    with some_parts(Settings(home=home), "store", "gateway") as running:
        settings = running.settings
        assert settings.s3_secret
        environment = os.environ | {
            "DROVER_HOME": str(home), "DROVER_S3_ENDPOINT": str(settings.s3_endpoint), "COLUMNS": "160",
            "DROVER_S3_KEY": str(settings.s3_key), "DROVER_S3_SECRET": settings.s3_secret.get_secret_value(),
            "DROVER_GATEWAY_URL": str(settings.gateway_url),
        }  # fmt: skip

        def drover(*arguments: str, **more: str) -> tuple[int, str]:
            command = [sys.executable, "-c", "from components.cli import main; main()", "robot", *arguments]
            done = subprocess.run(
                command, env=environment | more, capture_output=True, text=True, timeout=120, check=False
            )
            assert "Traceback" not in done.stderr
            return done.returncode, done.stdout + done.stderr

        code, shown = drover("invite", "robot-7")
        token = shown.split()[-1]
        joining = ("join", "robot-7", "--gateway", str(settings.gateway_url))
        assert code == 0
        assert drover(*joining, DROVER_TOKEN=token)[0] == 0
        assert "enrolled" in drover("list")[1]
        assert drover("invite", "robot-7")[0] == 1
        assert drover("revoke", "robot-7")[0] == 0
        assert "revoked" in drover("list")[1]
        assert drover(*joining, DROVER_TOKEN=token)[0] == 1
        assert "robot-7" in drover("invite", "../x")[1]
        code, shown = drover("invite", "robot-7", "--replace")
        assert drover(*joining, DROVER_TOKEN=shown.split()[-1])[0] == 0
