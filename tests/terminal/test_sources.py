"""The sources: every console is the one that shows strings as text, and every process makes its log records plain."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("bentos", "components", "flows", "infra")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.parent.name != "terminal"
]
_MAKERS = {
    "Console",
    "Text",
    "TextColumn",
    "Panel",
    "Markdown",
    "Status",
    "Spinner",
    "Rule",
    "Prompt",
    "print",
    "pprint",
}
_METHODS = {"from_markup", "from_ansi", "print_json", "secho", "echo", "log", "rule"}
_SPEAKERS = {"typer", "click", "console", "Text", "rich"}
_SWITCHES = {"markup", "rich_markup_mode", "pretty_exceptions_enable"}
_MARKUP = re.compile(r"\[/\]|\[(?:bold|dim|italic|red|green|yellow|blue|cyan|link=)[^\]]*\]")
_ALLOWED = {
    ("components/ingest/_worker.py", "sys.stdout"),  # JSON to the process that started it
    ("components/cli/__init__.py", "sys.stderr"),  # a trace, made printable
}
_OTHERS = {"infra/_ray_head.py"}
"""Ray's own command, started as a module of ours."""


def faults(source: str, name: str) -> Iterator[str]:
    ours = {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module == "components.terminal"
        for alias in node.names
    }
    for node in ast.walk(ast.parse(source)):
        at = f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _MARKUP.search(node.value):
            yield f"{at} holds markup"
        if isinstance(node, ast.keyword) and node.arg in _SWITCHES and ast.unparse(node.value) not in {"False", "None"}:
            yield f"{at} turns markup on"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        base, _, method = called.rpartition(".")
        if not base and called in _MAKERS - ours:
            yield f"{at} calls {called}"
        if base.rpartition(".")[2] in _SPEAKERS and method in _METHODS | _MAKERS - {"print"}:
            yield f"{at} calls {called}"
        if method == "write" and base in {"sys.stdout", "sys.stderr"} and (name, base) not in _ALLOWED:
            yield f"{at} calls {called}"
        shown = ast.unparse(node.args[0]).partition("(")[0] if node.args else ""
        if base in {"console", "status"} and method in {"status", "update"} and shown != "styled":
            yield f"{at} calls {called} without `styled`: rich reads a string there as markup"


@pytest.mark.parametrize(
    "source",
    [
        "from rich.console import Console\nconsole = Console()",
        "import rich.console\nconsole = rich.Console()",
        "print(name)",
        "import typer\ntyper.echo(name)",
        "console.print(f'[red]{name}[/]')",
        "console.print(name, markup=True)",
        "with console.status(f'{name}') as status:\n    status.update(name)",
        "from rich.text import Text\nText(name)",
        "from rich.text import Text\nText.from_markup(name)",
        "import sys\nsys.stderr.write(name)",
    ],
)
def test_each_way_around_the_console_is_noticed(source: str) -> None:
    assert list(faults(source, "x.py"))


def test_no_source_goes_around_the_console() -> None:
    found = [
        fault
        for path in SOURCES
        for fault in faults(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
        if path.name != "_text.py"
    ]
    assert found == []


def test_every_process_of_ours_makes_its_log_records_plain() -> None:
    started = [path for path in SOURCES if '__name__ == "__main__"' in path.read_text(encoding="utf-8")]
    started += [ROOT / "components/cli/__init__.py", ROOT / "flows/__init__.py", ROOT / "bentos/policy/service.py"]
    flows = {path for path in started if path.parent.name == "flows"} - {ROOT / "flows/__init__.py"}
    missing = [
        str(path.relative_to(ROOT))
        for path in started
        if path not in flows and "plain_logs()" not in path.read_text(encoding="utf-8")
    ]
    assert set(missing) - _OTHERS == set()
    assert len(started) > 8
