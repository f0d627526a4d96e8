"""Settings: the environment outranks the running stack, and a damaged stack file says what to do."""

import json
from pathlib import Path

import pytest

from components.contracts import STACK_FILE, Settings, errors


def test_defaults_start_nothing_and_reach_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROVER_HOME", str(tmp_path))

    settings = Settings()

    assert settings.home == tmp_path
    assert settings.s3_endpoint is None
    assert settings.prefect_api_url is None


def test_the_running_stack_fills_in_and_the_environment_outranks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {"version": "x", "settings": {"s3_endpoint": "127.0.0.1:1", "ray_address": "127.0.0.1:2"}}
    (tmp_path / STACK_FILE).write_text(json.dumps(document))
    monkeypatch.setenv("DROVER_HOME", str(tmp_path))
    monkeypatch.setenv("DROVER_S3_ENDPOINT", "s3.example:443")

    settings = Settings()

    assert settings.s3_endpoint == "s3.example:443"
    assert settings.ray_address == "127.0.0.1:2"


def test_another_ray_is_not_told_the_stacks_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"ray_address": "127.0.0.1:2", "ray_token_file": "/h/token", "ray_certificates": "/h/certificates"}
    (tmp_path / STACK_FILE).write_text(json.dumps({"version": "x", "settings": fields}))
    monkeypatch.setenv("DROVER_HOME", str(tmp_path))
    ours = Settings().ray_access
    monkeypatch.setenv("DROVER_RAY_ADDRESS", "ray.example:6379")

    assert (ours["RAY_AUTH_TOKEN_PATH"], ours["RAY_TLS_SERVER_KEY"]) == ("/h/token", "/h/certificates/node.key")
    assert Settings().ray_access == {}


def test_a_damaged_stack_file_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / STACK_FILE).write_text("{")
    monkeypatch.setenv("DROVER_HOME", str(tmp_path))

    with pytest.raises(errors.StackError, match="drover up"):
        Settings()


def test_a_secret_never_shows_in_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROVER_HOME", str(tmp_path))
    monkeypatch.setenv("DROVER_S3_SECRET", "hunter2")

    assert "hunter2" not in repr(Settings())


def test_names_of_the_gateway_are_a_list_with_commas_and_one_in_the_running_stacks_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROVER_HOME", str(tmp_path))
    monkeypatch.setenv("DROVER_GATEWAY_HOSTS", "fleet.example, 10.0.0.7 ,")

    assert Settings().gateway_hosts == ("fleet.example", "10.0.0.7")

    monkeypatch.delenv("DROVER_GATEWAY_HOSTS")
    (tmp_path / STACK_FILE).write_text(json.dumps({"settings": {"gateway_hosts": ["fleet.example"]}}))
    assert Settings().gateway_hosts == ("fleet.example",)
