"""`drover checks ...`: the rules that episodes are judged by, and what they found over time."""

import typer
from rich.table import Table

from components.contracts import Settings
from components.contracts.errors import ConfigurationError
from components.terminal import styled

from ._console import console

app = typer.Typer(no_args_is_help=True, help="The rules that episodes are judged by.")


@app.command("show")
def checks_show() -> None:
    """Every rule with its severity and threshold, and where they come from."""
    from components import checks

    settings = Settings()
    path, rulebook = checks.rulebook_file(settings), checks.load_rulebook(settings)
    defaults = {rule.rule: rule.severity for rule in checks.rules(checks.Thresholds())}
    table = Table("rule", "severity", "expected", "of", box=None, header_style="dim")
    for rule in rulebook.rules():
        changed = "" if rule.severity == defaults[rule.rule] else " (changed)"
        colour = "red" if rule.severity == "error" else "yellow"
        table.add_row(
            rule.rule, styled((rule.severity, colour), changed), rule.expected, ", ".join(rule.sources or ("all",))
        )
    console.print(table)
    off = [name for name, severity in rulebook.severities.items() if severity == "off"]
    if off:
        console.print(f"off: {', '.join(off)}")
    values = Table("threshold", "value", "default", box=None, header_style="dim")
    usual = checks.Thresholds()
    for name, value in rulebook.thresholds:
        default = getattr(usual, name)
        values.add_row(name, str(value), "" if value == default else styled((str(default), "yellow")))
    console.print(values)
    console.print(f"from {path or 'the defaults'}; digest {rulebook.digest()[:12]}")


@app.command("init")
def checks_init() -> None:
    """Write the default thresholds and severities where they are edited."""
    from components import checks

    settings = Settings()
    target = settings.checks_file or settings.home / checks.FILE
    try:
        checks.write_default(checks.DEFAULTS, target)
    except FileExistsError:
        raise ConfigurationError(f"{target} is there already; edit it") from None
    console.print(f"edit {target}")


@app.command("trend")
def checks_trend() -> None:
    """What each rule found, batch by batch, and a page of it."""
    from components import checks, storage

    settings = Settings()
    store = storage.connect(settings)
    table = Table(
        "judged (UTC)", "batch", "episodes", "quarantined", "warned", "unreadable", "rules broken",
        box=None, header_style="dim",
    )  # fmt: skip
    before: set[str] = set()
    judged = []
    for item in checks.trend(store):
        judged.append((item, " again" if item.batches[0] in before else ""))
        before.add(item.batches[0])
    for item, again in judged[-20:]:
        broken = ", ".join(f"{rule} {count}" for rule, count in (item.by_rule | item.refused).items())
        table.add_row(
            f"{item.judged_at:%Y-%m-%d %H:%M:%S}", item.batches[0][:12] + again, str(item.episodes),
            str(item.with_errors), str(item.with_warnings), str(sum(item.refused.values())), broken,
        )  # fmt: skip
    console.print(table)
    page = checks.keep_trend(store)
    console.print(f"page: {storage.page_url(settings, store, page.key, sign_in=True)}")
