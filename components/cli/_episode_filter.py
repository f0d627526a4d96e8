"""The filters that `drover episodes` commands share: said once, added to a command's own options."""

import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components.contracts import SPLITS
from components.contracts.errors import ConfigurationError

if TYPE_CHECKING:
    from components.datasets import EpisodeFilter

_STATES = ("no", "only", "any")
_Texts = list[str] | None


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the filter's options; it takes what they say as its keyword `wanted`."""
    own = [item for item in inspect.signature(command).parameters.values() if item.name != "wanted"]
    options = [
        item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in inspect.signature(_filter).parameters.values()
    ]

    @wraps(command)
    def run(*arguments: Any, **said: Any) -> None:
        wanted = _filter(**{option.name: said.pop(option.name) for option in options})
        command(*arguments, wanted=wanted, **said)

    run.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]  # what Typer reads
    run.__annotations__ = {item.name: item.annotation for item in (*own, *options)}
    return run


def _filter(
    *,
    robot: Annotated[_Texts, typer.Option(help="Of this robot; * and ? may stand for letters. Repeatable.")] = None,
    scenario: Annotated[_Texts, typer.Option(help="E.g. 1box_vert_left or '*_left'. Repeatable.")] = None,
    pattern: Annotated[_Texts, typer.Option(help="core or variant. Repeatable.")] = None,
    session: Annotated[_Texts, typer.Option(help="Of this collection session. Repeatable.")] = None,
    source: Annotated[_Texts, typer.Option(help="robot, simulated, ... Repeatable.")] = None,
    since: Annotated[str | None, typer.Option(help="Recorded then or later: 2025-08-15 or 2025-08-15T10:30.")] = None,
    until: Annotated[str | None, typer.Option(help="Recorded before then; a date is meant with its day.")] = None,
    text: Annotated[str | None, typer.Option(help="Its instruction holds this.")] = None,
    warning: Annotated[_Texts, typer.Option(help="This rule warned; any: any did. Repeatable.")] = None,
    edited: Annotated[bool, typer.Option("--edited", help="Somebody edited it.")] = False,
    excluded: Annotated[
        str | None, typer.Option(help="Deleted ones: no, only or any. (default: no; any with --dataset)")
    ] = None,
    collection: Annotated[str | None, typer.Option(help="In this collection: name or name@version.")] = None,
    dataset: Annotated[str | None, typer.Option(help="In this dataset: how its version begins.")] = None,
    split: Annotated[str | None, typer.Option(help="In this split of the dataset.")] = None,
) -> "EpisodeFilter":
    from components.datasets import EpisodeFilter

    return EpisodeFilter(
        robots=tuple(robot or ()),
        scenarios=tuple(scenario or ()),
        patterns=tuple(pattern or ()),
        sessions=tuple(session or ()),
        sources=tuple(source or ()),
        since=_moment("--since", since, after=timedelta()),
        until=_moment("--until", until, after=timedelta(days=1)),
        text=text,
        warnings=tuple(warning or ()),
        edited=edited,
        excluded=one_of("--excluded", excluded, _STATES),
        collection=collection,
        dataset=dataset.lower() if dataset else None,
        split=one_of("--split", split, SPLITS),
    )


def _moment(option: str, said: str | None, *, after: timedelta) -> datetime | None:
    """A time, in UTC unless it says its zone; a date is that midnight plus `after`."""
    if said is None:
        return None
    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        raise ConfigurationError(
            f"{option}: expected a date or a time such as 2025-08-15 or 2025-08-15T10:30, got {said!r}"
        ) from None
    if len(said) <= len("2025-08-15"):
        at += after
    return at.replace(tzinfo=at.tzinfo or UTC)


def one_of(option: str, said: str | None, known: tuple[str, ...]) -> Any:
    """A word, if it is one of those."""
    if said is not None and said not in known:
        raise ConfigurationError(f"{option}: expected {', '.join(known)}, got {said!r}")
    return said
