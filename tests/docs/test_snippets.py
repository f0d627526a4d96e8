"""The documentation as it is typed: fenced blocks run in page order against one store and gateway, in a temporary home.

A block without a language holds commands, one a line; `python` is executed, `toml` is read as upload rules, `text` is
no snippet. A block that is not run says why on the line before it: `<!-- not run: needs a Jetson -->`. The commands and
options of every page exist, also where they are not run.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.main import get_command
from typer.testing import CliRunner

from components.cli import app
from components.contracts import Settings
from components.episodes import KEYS, SCENARIOS, EpisodeAttributes, EpisodeWriter, instruction_for, make_name
from components.robot import RULES_FILE, read_rules
from components.storage import S3Store, connect, prepare
from infra.local import some_parts
from tests.episodes.test_donkey import make_tub

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "SECURITY.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
NEEDS_THE_STACK = frozenset({"docs/donkey.md", "docs/episodes.md", "docs/operations.md", "docs/training.md"})
"""Pages whose commands need Prefect, training or a demo's episodes: here their commands and options are looked up."""
GATEWAY = "https://drover.example:8443"
_MARK = re.compile(r"<!-- not run: (?P<why>\S.*) -->")
_FENCE = re.compile(r"```(?P<language>\w*)")


@dataclass(frozen=True)
class Snippet:
    """One fenced block."""

    line: int
    language: str
    text: str
    why_not: str | None
    """Why it is not run."""


def snippets(page: str) -> list[Snippet]:
    found: list[Snippet] = []
    why: str | None = None
    inside: list[str] | None = None
    language, start = "", 0
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        fence = _FENCE.fullmatch(line.strip())
        if inside is None and fence:
            inside, language, start = [], fence["language"], number
        elif inside is not None and line.strip() == "```":
            found.append(Snippet(start, language, "\n".join(inside), why))
            inside, why = None, None
        elif inside is not None:
            inside.append(line)
        elif line.strip():
            mark = _MARK.fullmatch(line.strip())
            why = mark["why"] if mark else None
    assert inside is None, f"{page}: a block that begins in line {start} does not end"
    return found


def commands(text: str) -> list[list[str]]:
    """The words of each line that is a command; comments are left out, `&&` parts two."""
    lines = re.sub(r"\\\n", " ", text).splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [part for line in words for part in _parted(line) if part]


def _parted(words: list[str]) -> Iterator[list[str]]:
    while "&&" in words:
        at = words.index("&&")
        yield words[:at]
        words = words[at + 1 :]
    yield words


@dataclass
class Platform:
    """What the pages' commands run against."""

    settings: Settings
    store: S3Store
    folder: Path
    words: dict[str, str] = field(default_factory=dict)
    """What a reader puts in for a name of the page."""

    def run(self, words: list[str], patch: pytest.MonkeyPatch) -> Result:
        assert words[0] == "drover", f"expected a `drover` command, or a mark that says why it is not run: {words}"
        wanted = [self.words.get(word, word) for word in words[1:] if not word.startswith("[")]
        done: Result = CliRunner().invoke(app, wanted, catch_exceptions=False)
        assert done.exit_code == 0, f"{' '.join(wanted)}: {done.output}"
        if wanted[:2] == ["robot", "invite"]:
            patch.setenv("DROVER_TOKEN", done.output.split()[-1])
        return done


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("reader")
    with some_parts(Settings(home=folder / "home"), "store", "gateway") as running:
        store = connect(running.settings)
        prepare(store)
        yield Platform(running.settings, store, folder, {GATEWAY: str(running.settings.gateway_url)})


@pytest.fixture
def reader(platform: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Platform:
    settings = platform.settings
    assert settings.s3_secret
    for name, value in {
        "DROVER_HOME": str(settings.home),
        "DROVER_S3_ENDPOINT": settings.s3_endpoint,
        "DROVER_S3_KEY": settings.s3_key,
        "DROVER_S3_SECRET": settings.s3_secret.get_secret_value(),
        "DROVER_GATEWAY_URL": settings.gateway_url,
        "DROVER_PAGES_URL": "http://127.0.0.1",
        "COLUMNS": "200",
    }.items():
        monkeypatch.setenv(name, value or "")
    monkeypatch.delenv("DROVER_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    return platform


def episode(folder: Path, number: int = 0) -> Path:
    """An episode as a robot writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    name = make_name(datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(minutes=number), SCENARIOS[number % 8])
    attributes = EpisodeAttributes(name=name, instruction=instruction_for(SCENARIOS[number % 8]))
    random = np.random.default_rng(number)
    with EpisodeWriter(folder / f"{name}.h5", attributes, 72, 128, sync=False) as writer:
        for key in ("space", "W", "Q", "W"):
            event = "start_action" if writer.frames else "episode_start"
            writer.append(random.integers(0, 256, (72, 128, 3), dtype=np.uint8), KEYS[key], event)
    return folder / f"{name}.h5"


def _robots(_reader: Platform) -> None:
    episode(Path("FOLDER"))
    make_tub(Path("TUB"))


def _formats(_reader: Platform) -> None:
    episode(Path("usb_stick"), 1)


PREPARE: dict[str, Callable[[Platform], None]] = {
    "docs/robots.md": _robots,
    "docs/formats.md": _formats,
}
RUN = tuple(
    page
    for page in PAGES
    if page not in NEEDS_THE_STACK and any(item.why_not is None and item.language != "text" for item in snippets(page))
)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("page", RUN)
def test_page_does_what_it_says(page: str, reader: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    PREPARE.get(page, lambda _reader: None)(reader)
    ran = 0
    for snippet in snippets(page):
        if snippet.why_not is not None or snippet.language == "text":
            continue
        if snippet.language == "python":
            exec(compile(snippet.text, f"{page}, line {snippet.line}", "exec"), {})  # noqa: S102  # our own page
        elif snippet.language == "toml":
            Path(RULES_FILE).write_text(snippet.text)
            read_rules(Path())
        else:
            for words in commands(snippet.text):
                reader.run(words, monkeypatch)
        ran += 1
    assert ran


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_of_a_kind_that_is_run_or_say_why_not(page: str) -> None:
    for snippet in snippets(page):
        assert snippet.language in {"", "python", "toml", "text"}, f"{page}, line {snippet.line}"
        if page in NEEDS_THE_STACK or snippet.why_not or snippet.language:
            continue
        strange = [words for words in commands(snippet.text) if words[0] != "drover"]
        assert not strange, f"{page}, line {snippet.line}: {strange} are run by nothing and say not why"


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    blocks = [item for item in snippets(page) if item.language == ""]
    named = [words for item in blocks for words in commands(item.text) if words and words[0] == "drover"]
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    named += [shlex.split(found) for found in re.findall(r"`(drover [^`|]*)`", prose) if found.count('"') % 2 == 0]
    for words in named:
        fault = _unknown(words[1:])
        assert fault is None, f"{page}: {' '.join(words)}: {fault}"


def _unknown(words: list[str]) -> str | None:
    """What of a command line does not exist; None: everything does."""
    command: Any = get_command(app)
    rest = list(words)
    while (commands := getattr(command, "commands", None)) and rest and not rest[0].startswith(("-", ".", "[")):
        if rest[0] not in commands:
            return f"there is no command {rest[0]!r}"
        command, rest = commands[rest[0]], rest[1:]
    options = {option for item in command.params for option in (*item.opts, *item.secondary_opts)} | {"--help"}
    unknown = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in options]
    return f"there is no option {unknown[0]}" if unknown else None
