import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

INFRA = Path(__file__).parents[2] / "infra"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((INFRA / "compose.yaml").read_text()))


def test_every_image_is_pinned(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        tag = service["image"].rpartition(":")[2]
        assert re.search(r"\d", tag), name
        assert tag != "latest", name
    for line in (INFRA / "Dockerfile").read_text().splitlines():
        if line.startswith("FROM"):
            assert re.search(r":\d+\.\d+\.\d+", line)


def test_every_port_is_published_on_loopback_alone(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", ())]

    assert len(published) >= 5
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)


def test_no_secret_is_inside_and_each_is_asked_for(compose: dict[str, Any]) -> None:
    asked = set()
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"SECRET|PASSWORD|_KEY$|CONNECTION_URL|_AUTH(_STRING)?$|_TOKEN$", name):
                found = re.findall(r"\$\{(\w+):\?", value)
                assert found, name
                asked |= set(found)
    example = dict(
        line.split("=", 1) for line in (INFRA / "compose.env.example").read_text().splitlines() if "=" in line
    )

    assert asked == set(example)
    assert set(example.values()) == {""}


def test_every_service_named_is_there_and_waited_for_in_health(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for name, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[name]
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in compose["volumes"]
    hosts = {
        host
        for service in services.values()
        for value in service.get("environment", {}).values()
        for host in re.findall(r"(?:http://|@|^)([a-z]+):\d+", str(value))
    }
    assert {"prefect", "store", "ray", "database"} <= hosts <= set(services)


def test_prefect_asks_for_what_its_clients_send(compose: dict[str, Any]) -> None:
    environments = {name: service.get("environment", {}) for name, service in compose["services"].items()}

    asked = environments["prefect"]["PREFECT_SERVER_API_AUTH_STRING"]
    assert {environments[name]["PREFECT_API_AUTH_STRING"] for name in ("prefect", "worker")} == {asked}
    lesser = environments["prefect"]["DROVER_PREFECT_GATEWAY_AUTH"]
    assert environments["gateway"]["DROVER_PREFECT_AUTH"] == lesser != asked
    assert "infra.prefect_server" in compose["services"]["prefect"]["command"]


def test_modules_it_starts_are_there(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        command = service.get("command", [])
        if "-m" in command:
            module = command[command.index("-m") + 1]
            assert (INFRA.parent / (module.replace(".", "/") + ".py")).exists()


def test_ray_asks_for_a_token_and_the_store_has_no_console(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name in ("ray", "worker"):
        assert services[name]["environment"]["RAY_AUTH_MODE"] == "token"
        assert services[name]["environment"]["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_SECRET:?")

    assert services["store"]["environment"]["MINIO_BROWSER"] == "off"
    assert not any("9001" in port for port in services["store"]["ports"])


def test_telemetry_is_off(compose: dict[str, Any]) -> None:
    for name in ("prefect", "ray", "worker", "pages"):
        environment = compose["services"][name]["environment"]
        assert environment["DO_NOT_TRACK"] == "1"
        assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
        assert environment["RAY_USAGE_STATS_ENABLED"] == "0"


def test_docker_compose_accepts_it(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip(
            "`docker compose` is not installed on this machine: compose.yaml was checked by its structure alone"
        )
    env = tmp_path / "env"
    env.write_text(
        "".join(f"{line}x\n" for line in (INFRA / "compose.env.example").read_text().splitlines() if line.endswith("="))
    )

    subprocess.run(
        [docker, "compose", "--env-file", env, "-f", INFRA / "compose.yaml", "config", "--quiet"],
        check=True,
        capture_output=True,
    )
