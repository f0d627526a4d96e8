"""`drover gate ...`: what the gate thinks of a policy, and why."""

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding

from components.contracts import Settings
from components.contracts.errors import EvidenceError
from components.terminal import styled

from ._console import console

if TYPE_CHECKING:
    from components.contracts import RuleOutcome
    from components.promotion import Evidence, GateRules
    from components.storage import ObjectStore

app = typer.Typer(no_args_is_help=True, help="What the gate asks of a policy.")

REFUSED = 3
"""Exit code: the gate would not promote it."""
LATEST = "latest"


@app.callback()
def gate() -> None:
    """A group, though it has one command yet."""


@app.command("explain")
def gate_explain(
    wanted: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="A release's name, how a package's or a report's digest begins, or `latest`."
        ),
    ] = LATEST,
) -> None:
    """Judge kept evidence again, and say every rule: its figure, what that had to be, and what would help.

    Exit code 0: promote; 3: refused.
    """
    from components import promotion, storage

    evidence, rules = _find(storage.connect(Settings()), wanted), promotion.GateRules()
    found = promotion.judge(evidence.report, evidence.package, incumbent=evidence.incumbent, rules=rules)
    for rule in found:
        _tell(rule)
    for note in promotion.notes(evidence.report):
        _say("informs", "dim", note)
    _say("margins", "dim", _margins(rules))
    broken = [rule.rule for rule in found if not rule.passed]
    about = f"{evidence.source}: report {evidence.report.digest()[:12]} of {evidence.report.subject}"
    against = f", in the place of {evidence.incumbent.release.name}" if evidence.incumbent else ""
    if broken:
        _say("REFUSED", "bold red", f"{about}{against}; {len(broken)} of {len(found)} rules: {', '.join(broken)}")
        sys.exit(REFUSED)
    _say("PROMOTE", "bold green", f"{about}{against}; {len(found)} rules")


def _find(store: "ObjectStore", wanted: str) -> "Evidence":
    """The one that is meant: releases and the last run first, then reports that were kept by themselves."""
    from components import promotion

    known = {item.report.digest(): item for item in promotion.find_evidence(store, wanted)}
    others: list[str] = []
    if wanted == LATEST and not known:
        from components import evaluation

        return promotion.evidence_of_report(store, evaluation.open_report(store))
    if re.fullmatch(r"[0-9a-f]{4,64}", wanted):
        from components import evaluation

        kept = evaluation.report_digests(store)
        others = [digest for digest in kept if digest.startswith(wanted) and digest not in known]
    if len(known) + len(others) != 1:
        meant = [f"{item.source} (report {digest[:16]})" for digest, item in known.items()]
        meant += [f"report {digest[:16]}" for digest in others]
        raise EvidenceError(
            f"expected what one report, package or release is called, or four digits or more of its digest; {wanted!r} "
            + (f"means {len(meant)}: {', '.join(meant)}" if meant else "means none; see `drover leaderboard`")
        )
    if known:
        return next(iter(known.values()))
    return promotion.evidence_of_report(store, evaluation.open_report(store, others[0]))


def _tell(rule: "RuleOutcome") -> None:
    _say("passed" if rule.passed else "FAILED", "green" if rule.passed else "bold red", rule.rule)
    lines = [rule.evidence, f"{rule.figure} needs {rule.needs}"]
    lines += [f"What would help: {rule.helps}"] if rule.helps else []
    for line in lines:
        console.print(Padding(styled(line, style="" if line == rule.evidence else "dim"), (0, 0, 0, 8)))


def _margins(rules: "GateRules") -> str:
    said = [f"{name} {value:g}" for name, value in rules if isinstance(value, float)]
    said += [f"{name} {value:g}" for part in (rules.budget, rules.tolerances) for name, value in part]
    return ", ".join(said)


def _say(word: str, style: str, text: str) -> None:
    console.print(styled((f"{word:<8}", style), text))
