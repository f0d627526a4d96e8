"""What a choice of episodes holds, in figures."""

from collections import Counter
from collections.abc import Sequence

from components.contracts import AXES, Axis, Frozen
from components.episodes import words

from ._catalogue import Entry, rules_warned


class EpisodeFigures(Frozen):
    """Of some episodes, as edited."""

    episodes: int
    excluded: int
    """Of them deleted."""
    frames: int
    bytes: int
    hours: float
    """As the robots state them."""
    without_duration: int
    """Episodes that state none."""
    warned: dict[str, int]
    """Rule -> episodes."""
    scenarios: dict[str, int]
    patterns: dict[str, int]
    robots: dict[str, int]
    sessions: dict[str, int]
    """`robot/session` -> episodes."""
    sources: dict[str, int]
    keys: dict[str, int]
    """Key -> frames after frame 0; `other` where the action is no key press."""
    without_keys: int
    """Episodes admitted before keys were counted."""
    actions: dict[Axis, tuple[float, float]]
    """Least and most: m/s, m/s, rad/s."""
    vocabulary: dict[str, int]
    """Word of the instructions -> episodes."""
    instructions: int
    """Different ones."""


def figures(entries: Sequence[Entry]) -> EpisodeFigures:
    """Count and measure. Nothing is decoded: everything is in the records."""
    summaries = [entry.summary for entry in entries]
    durations = [item.stated_duration_s for item in summaries if item.stated_duration_s is not None]
    keys: Counter[str] = Counter()
    for item in summaries:
        keys.update(item.key_counts or {})
    return EpisodeFigures(
        episodes=len(entries),
        excluded=sum(entry.excluded for entry in entries),
        frames=sum(item.frames for item in summaries),
        bytes=sum(entry.record.file.size for entry in entries),
        hours=sum(durations) / 3600,
        without_duration=len(summaries) - len(durations),
        warned=_counts([rule for entry in entries for rule in rules_warned(entry.record)]),
        scenarios=_counts([item.scenario or "none" for item in summaries]),
        patterns=_counts([item.pattern or "none" for item in summaries]),
        robots=_counts([item.robot for item in summaries]),
        sessions=_counts([f"{item.robot}/{item.session}" for item in summaries]),
        sources=_counts([item.source for item in summaries]),
        keys=dict(keys.most_common()),
        without_keys=sum(item.key_counts is None for item in summaries),
        actions=_ranges(entries),
        vocabulary=_counts([word for item in summaries for word in set(words(item.instruction))]),
        instructions=len({item.instruction for item in summaries}),
    )


def _ranges(entries: Sequence[Entry]) -> dict[Axis, tuple[float, float]]:
    lows = [entry.summary.action_min for entry in entries if entry.summary.action_min]
    highs = [entry.summary.action_max for entry in entries if entry.summary.action_max]
    if not lows or not highs:
        return {}
    return {
        axis: (min(low[index] for low in lows), max(high[index] for high in highs)) for index, axis in enumerate(AXES)
    }


def _counts(values: Sequence[str]) -> dict[str, int]:
    """The most frequent first, then by name."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
