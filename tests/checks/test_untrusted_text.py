"""Pages of the checks: no element and no attribute comes from what a robot or a file said."""

import html.parser
from datetime import UTC, datetime
from pathlib import Path

from components import checks
from components.checks._docs import _overview
from components.checks._trend import keep_figures
from components.contracts import CheckReport, Finding, printable
from components.storage import FolderStore
from tests.checks.test_colours import episode
from tests.terminal.hostile import HOSTILE, SHOWN

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class _Page(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[str]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, [name for name, _ in attrs]))

    def handle_data(self, data: str) -> None:
        self.text += data


def _trend(folder: Path, rule: str) -> str:
    store, judged = FolderStore(folder), episode(1, None)
    finding = Finding(sha256=judged.sha256, rule=rule, severity="error", expected=rule, observed=rule)
    report = CheckReport(batch="a" * 64, episodes=1, findings=(finding,), data_docs=None, rules="b" * 64)
    keep_figures(store, [judged], report, NOW, {f"{rule} again": 1})
    return store.get("reports", checks.keep_trend(store).key).decode()


def test_trend_of_a_rule_with_a_hostile_name_has_the_elements_of_any_other(tmp_path: Path) -> None:
    hostile, usual = _trend(tmp_path / "a", HOSTILE), _trend(tmp_path / "b", "z")
    assert _Page(hostile).tags == _Page(usual).tags
    assert _Page(hostile).text.count(SHOWN) == 2
    assert all(printable(line) == line for line in hostile.split("\n"))


def test_overview_of_a_finding_with_hostile_words_has_the_elements_of_any_other() -> None:
    def overview(text: str) -> str:
        finding = Finding(sha256="a" * 64, rule=text, severity="error", expected=text, observed=text)
        return _overview("b" * 64, {"a" * 64: text}, [finding], "c" * 64)

    assert _Page(overview(HOSTILE)).tags == _Page(overview("z")).tags
    assert _Page(overview(HOSTILE)).text.count(SHOWN) == 4
