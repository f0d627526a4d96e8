"""The command line on an embedded store: commands run in this process, as a person types them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from components import cli
from components.contracts import Settings
from components.storage import S3Store, connect, prepare
from infra.local import store_alone

Drover = Callable[..., Result]


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    with store_alone(Settings(home=tmp_path / "home")) as settings:
        prepare(connect(settings))
        yield settings


@pytest.fixture
def store(settings: Settings) -> S3Store:
    return connect(settings)


@pytest.fixture
def drover(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Drover:
    """`drover("rollout", "list", input="y\\n")`; errors that Drover raises on purpose are raised."""
    assert settings.s3_secret
    for name, value in {
        "DROVER_HOME": str(settings.home),
        "DROVER_S3_ENDPOINT": settings.s3_endpoint,
        "DROVER_S3_KEY": settings.s3_key,
        "DROVER_S3_SECRET": settings.s3_secret.get_secret_value(),
        "COLUMNS": "200",
    }.items():
        monkeypatch.setenv(name, value or "")

    def run(*arguments: str, input: str | None = None) -> Result:  # noqa: A002  # click's own word
        done: Result = CliRunner().invoke(cli.app, list(arguments), input=input)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return run
