"""The demo's result for people: one table a question, then the links to open."""

from rich.table import Table

from components.terminal import Console, link, styled

from ._demo_result import DemoResult, Figure


def show(result: DemoResult, console: Console) -> None:
    """Print the whole result."""
    console.print()
    for section in _sections(result):
        console.print(section)
        console.print()
    console.print("Open", style="bold")
    for name, url in result.links.items():
        console.print(styled((f"{name:<10} ", "dim"), link(url)))  # one line each, to be copied whole


def _sections(result: DemoResult) -> list[Table]:
    sections: list[Table] = [_episodes(result), _policies(result)]
    if result.closed_loop:
        sections.append(_closed_loop(result))
    sections.append(_trust(result))
    sections += [_release(result), _robots(result), _stages(result)]
    return sections


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table


def _interval(figure: Figure, *, percent: bool = False) -> str:
    if percent:
        return f"{figure.value:.0%} [{figure.low:.0%}, {figure.high:.0%}]"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _episodes(result: DemoResult) -> Table:
    episodes, dataset = result.episodes, result.dataset
    table = _table("Episodes", "", "")
    table.columns[1].justify = "left"
    table.add_row("uploaded", str(episodes.uploaded))
    table.add_row("accepted", str(episodes.accepted))
    for episode in episodes.quarantined:
        table.add_row(styled(("quarantined", "yellow")), styled(f"{episode.name}: ", (episode.rule, "yellow")))
    split = f"{dataset.train} train, {dataset.validation} validation, {dataset.test} test; {dataset.frames:,} frames"
    table.add_row("dataset", f"{dataset.version[:12]}: {split}")
    return table


def _policies(result: DemoResult) -> Table:
    mae_axes = ", ".join(result.policies[0].mae_by_axis) if result.policies else ""
    frames = ", simulated frames" if result.simulated else ""
    title = f"Policies on the test split{frames} (MAE over {mae_axes}; 95 % intervals by episode)"
    table = _table(title, "policy", "role", "MAE", "key accuracy")
    for row in result.policies:
        style = {"ensemble": "bold green", "member": "", "baseline": "dim"}[row.role]
        table.add_row(row.name, row.role, _interval(row.mae), _interval(row.key_accuracy, percent=True), style=style)
    for ablation in result.ablations:
        told = "as expected" if ablation.held else "not as expected"
        table.add_row(ablation.name, "ablation", _interval(ablation.mae), told, style="dim italic")
    return table


def _trust(result: DemoResult) -> Table:
    """What the figures are worth: one line a question."""
    table = _table("How far to trust it", "", "")
    table.columns[1].justify = "left"
    leaks = result.leaks
    found = styled((f"{leaks.leaks} leaks:", "red"), " test episodes") if leaks.leaks else styled("no test episode")
    compared = f"{leaks.test_episodes} looked for among {leaks.other_episodes}"
    table.add_row("leaks", styled(found, f" in training or validation; {compared}"))
    if result.ece:
        table.add_row("calibration", f"ECE {_interval(result.ece)}, n={result.ece.n} episodes")
    if shift := result.worst_shift:
        loss = f"success falls by {_interval(shift.loss, percent=True)} in {shift.loss.n} rooms (simulated)"
        table.add_row("shifts", f"worst of {shift.suites} suites: {shift.name} ({shift.what}): {loss}")
    return table


def _closed_loop(result: DemoResult) -> Table:
    trials = result.closed_loop[0].success.n
    table = _table(f"Closed loop: {trials} seeded trials (simulated)", "driver", "success", "SPL", "collisions")
    for row in result.closed_loop:
        rates = (_interval(row.success, percent=True), _interval(row.spl), _interval(row.collisions, percent=True))
        table.add_row(row.name, *rates)
    return table


def _release(result: DemoResult) -> Table:
    table = _table("Package and promotion", "", "")
    table.columns[1].justify = "left"
    if result.package:
        size = f"{result.package.bytes / 2**20:.2f} MiB, parity {result.package.parity_max:.1e}"
        table.add_row("package", f"{result.package.sha256[:12]}: {size}")
    if result.endpoint:
        endpoint = result.endpoint
        table.add_row(
            "endpoint", f"p50 {endpoint.p50_ms:.1f} ms, p95 {endpoint.p95_ms:.1f} ms over {endpoint.n} requests"
        )
    table.add_row("decision", result.promotion.decision)
    for reason in result.promotion.reasons:
        table.add_row("", styled((reason, "dim")))
    return table


def _robots(result: DemoResult) -> Table:
    table = _table("Fleet", "robot", "release", "state")
    for row in result.robots:
        table.add_row(row.robot, row.release or "-", row.state)
    return table


def _stages(result: DemoResult) -> Table:
    table = _table(
        f"Time: {result.wall_s:.0f} s in all, at most {result.peak_rss_mib:,.0f} MiB of memory", "stage", "seconds", ""
    )
    for row in result.stages:
        table.add_row(row.name, f"{row.seconds:.1f}", styled(("unchanged, skipped", "dim")) if row.skipped else "")
    return table
