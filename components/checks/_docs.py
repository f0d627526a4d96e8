"""Data Docs, made to be read without the internet, and kept in the store.

Great Expectations' pages take their style sheets, scripts and a counting image from seven hosts. Those are cut out; a
style sheet of ours stands in, and the page of the run becomes index.html.
"""

import html
import re
from collections.abc import Sequence
from pathlib import Path

from components.contracts import EpisodeSummary, Finding, ObjectRef, printable
from components.contracts.errors import DroverError
from components.storage import ObjectStore, keep_page

_REMOTE = (
    re.compile(r"<script[^>]*\bsrc=[^>]*>\s*</script>", re.IGNORECASE),
    re.compile(r"<link[^>]*\bhref=[^>]*>", re.IGNORECASE),
    re.compile(r"<nav class=\"navbar navbar-expand.*?</nav>\s*</div>\s*</nav>", re.DOTALL),
    re.compile(r"<footer.*?</footer>", re.DOTALL),
    re.compile(r"<img[^>]*\bsrc=\"https?:[^>]*>", re.IGNORECASE),
    re.compile(r"@media \(prefers-color-scheme: dark\) \{(?:[^{}]*\{[^{}]*\})*[^{}]*\}"),
    re.compile(r"@font-face\s*\{[^}]*\}"),
)
_STYLE = (Path(__file__).parent / "_docs.css").read_text(encoding="utf-8")
_SCRIPT = (Path(__file__).parent / "_docs.js").read_text(encoding="utf-8")


def keep_docs(
    store: ObjectStore,
    batch: str,
    site: Path,
    summaries: Sequence[EpisodeSummary],
    findings: list[Finding],
    *,
    rules: str,
) -> ObjectRef:
    """Upload the built site under `reports/checks/<batch>/` and return its index.html."""
    names = {summary.sha256: f"{summary.robot}/{summary.name}" for summary in summaries}
    runs = sorted((site / "validations").rglob("*.html"))
    suites = sorted((site / "expectations").rglob("*.html"))
    if len(runs) != 1 or len(suites) != 1:
        raise DroverError(f"expected Data Docs with one run and one suite, found {len(runs)} and {len(suites)}")
    _put(store, batch, "suite.html", _offline(suites[0].read_text(encoding="utf-8"), "The suite: every rule", ""))
    title = f"{len(summaries)} episodes checked"
    page = _offline(runs[0].read_text(encoding="utf-8"), title, _overview(batch, names, findings, rules))
    return _put(store, batch, "index.html", re.sub(r'href="[./]*expectations/[^"]*"', 'href="suite.html"', page))


def _put(store: ObjectStore, batch: str, name: str, page: str) -> ObjectRef:
    return keep_page(store, f"checks/{batch}/{name}", page.encode())


def _offline(page: str, title: str, overview: str) -> str:
    for pattern in _REMOTE:
        page = pattern.sub("", page)
    header = f"<header class='drover'><h1>{html.escape(title)}</h1>{overview}</header>"
    page = re.sub(r"<body[^>]*>", lambda match: match[0] + header, page, count=1)
    page = re.sub(r"<title>.*?</title>", "", page, flags=re.DOTALL)
    head = f"<title>Drover: {html.escape(title)}</title><style>{_STYLE}</style></head>"
    return page.replace("</head>", head, 1).replace("</body>", f"<script>{_SCRIPT}</script></body>", 1)


def _shown(text: str) -> str:
    return html.escape(printable(text))


def _overview(batch: str, names: dict[str, str], findings: list[Finding], rules: str) -> str:
    errors = {item.sha256 for item in findings if item.severity == "error"}
    warned = {item.sha256 for item in findings} - errors
    lines = "".join(
        f"<tr class='{item.severity}'><td>{item.severity}</td><td>{_shown(item.rule)}</td>"
        f"<td>{_shown(item.expected)}</td><td>{_shown(item.observed)}</td>"
        f"<td>{_shown(names[item.sha256])}</td></tr>"
        for item in sorted(findings, key=lambda item: (item.severity, item.rule, item.sha256))
    )
    table = (
        "<table><thead><tr><th>severity</th><th>rule</th><th>expected</th><th>found</th><th>episode</th></tr></thead>"
        f"<tbody>{lines}</tbody></table>"
        if findings
        else ""
    )
    return (
        f"<p>Batch <code>{batch[:12]}</code>: {len(errors)} to be quarantined, {len(warned)} more with warnings. "
        f"Rules <code>{rules[:12]}</code>. <a href='../trend.html'>All batches</a>. "
        f"What follows is Great Expectations' own account of the run.</p>{table}"
    )
