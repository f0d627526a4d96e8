"""How `drover episodes` shows what it found: for people, and as JSON."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from components.terminal import echo_json, styled

from ._console import console

if TYPE_CHECKING:
    from components.contracts import Collection, EpisodeEdit
    from components.datasets import Entry, EpisodeFigures, EpisodePlaces

_SHORT = 12
_MOST_COUNTED = 12


def show_json(value: Any) -> None:
    """A list has one line an entry."""
    if isinstance(value, list):
        lines = ",\n".join(json.dumps(item, ensure_ascii=False) for item in value)
        echo_json(f"[{lines}]")
    else:
        echo_json(json.dumps(value, indent=1, ensure_ascii=False))


def entry_json(entry: "Entry") -> dict[str, Any]:
    """The summary as edited, and what is said about it."""
    return entry.summary.model_dump(mode="json") | {
        "bytes": entry.record.file.size,
        "excluded": entry.excluded,
        "warnings": list(entry.record.warnings),
        "edits": [edit.model_dump(mode="json", exclude_none=True) for edit in entry.edits],
    }


def show_entries(entries: Sequence["Entry"]) -> None:
    """One line an episode."""
    from components.datasets import rules_warned

    table = Table(
        "id", "robot", "episode", "session", "scenario", "frames", "MB", "warned", "", box=None, header_style="dim"
    )
    for entry in entries:
        summary = entry.summary
        table.add_row(
            entry.sha256[:_SHORT], summary.robot, summary.name, summary.session, summary.scenario or "-",
            str(summary.frames), f"{entry.record.file.size / 1e6:,.1f}",
            styled(", ".join(sorted(rules_warned(entry.record))), style="yellow"), _state(entry),
        )  # fmt: skip
    console.print(table)


def show_entry(entry: "Entry", places: "EpisodePlaces") -> None:
    """Everything about one."""
    original, summary = entry.record.summary, entry.summary
    table = Table(box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    known = summary.model_dump(mode="json") | {"file": f"{entry.record.file.uri}, {entry.record.file.size:,} bytes"}
    for field, value in known.items():
        was = getattr(original, field, value)
        note = f"   (admitted as {was!r})" if field in {"instruction", "scenario"} and was != value else ""
        table.add_row(field, f"{_words(value)}{note}")
    console.print(table)
    for warning in entry.record.warnings:
        console.print(f"warned: {warning}", style="yellow")
    for edit in entry.edits:
        console.print(edit_line(edit))
    if entry.excluded:
        console.print(styled(("deleted: no dataset takes it from now on", "red"), " (drover episodes restore)"))
    receipt = places.receipt
    if receipt is None:
        console.print("receipt: none that can be read; its robot keeps its copy")
    else:
        kind = "signed" if places.signed else "not signed, robots believe signed ones alone"
        console.print(f"receipt: {receipt.status}, {receipt.issued_at:%Y-%m-%d %H:%M:%S} UTC, {kind}")
    for place in places.datasets:
        console.print(f"dataset {place.version[:_SHORT]}: {place.split}, built {place.built_at:%Y-%m-%d %H:%M:%S} UTC")
    if not places.datasets:
        console.print("in no dataset yet")
    console.print(f"collections: {', '.join(places.collections) or 'none'}")


def edit_line(edit: "EpisodeEdit") -> str:
    """`edit 2, 2025-08-15 10:30 by kim: scenario 1box_vert_left (why)`."""
    changes = [f"{field} {value!r}" for field in ("instruction", "scenario") if (value := getattr(edit, field))]
    if edit.excluded is not None:
        changes.append("deleted" if edit.excluded else "restored")
    return f"edit {edit.number}, {edit.at:%Y-%m-%d %H:%M} by {edit.by}: {', '.join(changes)} ({edit.reason})"


def show_figures(figures: "EpisodeFigures") -> None:
    missing = f" ({figures.without_duration} state none)" if figures.without_duration else ""
    deleted = f", {figures.excluded} of them deleted" if figures.excluded else ""
    console.print(
        f"{figures.episodes:,} episodes{deleted}: {figures.frames:,} frames, {figures.hours:.2f} h{missing}, "
        f"{figures.bytes / 1e9:.2f} GB, {figures.instructions} different instructions"
    )
    for axis, (low, high) in figures.actions.items():
        console.print(f"{axis}: {low:+.3f} to {high:+.3f} {'rad/s' if axis == 'angular_z' else 'm/s'}")
    for title, counts in (
        ("scenario", figures.scenarios), ("pattern", figures.patterns), ("source", figures.sources),
        ("robot", figures.robots), ("session", figures.sessions), ("warned", figures.warned),
        ("key (frames)", figures.keys), ("word of instructions", figures.vocabulary),
    ):  # fmt: skip
        _show_counts(title, counts)
    if figures.without_keys:
        console.print(f"{figures.without_keys} episodes were admitted before keys were counted")


def show_collections(collections: Sequence["Collection"]) -> None:
    table = Table("collection", "episodes", "made", "by", "from", box=None, header_style="dim")
    for item in collections:
        table.add_row(item.ref, f"{len(item.episodes):,}", f"{item.at:%Y-%m-%d %H:%M}", item.by, item.origin)
    console.print(table)


def _show_counts(title: str, counts: dict[str, int]) -> None:
    if not counts:
        return
    most, shown = max(counts.values()), list(counts.items())[:_MOST_COUNTED]
    table = Table(title, "", "", box=None, header_style="dim")
    for name, count in shown:
        table.add_row(name, f"{count:,}", "█" * max(1, round(24 * count / most)))
    console.print(table)
    if len(counts) > len(shown):
        console.print(f"  and {len(counts) - len(shown)} more: --json has all")


def _state(entry: "Entry") -> Text:
    words = [styled(("deleted", "red"))] if entry.excluded else []
    if any(edit.excluded is None for edit in entry.edits):
        words.append(styled("edited"))
    return styled(", ").join(words)


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items())
    if isinstance(value, list):
        return ", ".join(_words(item) for item in value)
    return "-" if value is None else str(value)
