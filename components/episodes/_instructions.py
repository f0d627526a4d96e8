"""Instructions: what a robot is told, and how a policy reads it."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.contracts.errors import EpisodeError

from ._names import SCENARIOS

MAX_TOKENS = 16
"""Words of an instruction that a policy reads; the rest is cut off."""
UNKNOWN = 1
"""Token of a word that the vocabulary lacks."""

WORDINGS = 6
"""Other ways to say each instruction."""

_OBSTACLES = {"1box": "the single box obstacle", "2box": "the two box obstacles"}
_WORDINGS: tuple[tuple[str, dict[str, str]], ...] = (
    ("Go {side} of {boxes} and drive on to the cup", {"1box": "the one box", "2box": "the two boxes"}),
    ("Keep to the {side} while you pass {boxes}, then head for the mug", {"1box": "one crate", "2box": "two crates"}),
    ("Take the {side} side past {boxes} and roll up to the cup", {"1box": "a single carton", "2box": "both cartons"}),
    ("Steer {side} so that you clear {boxes} on your way to the mug", {"1box": "one box", "2box": "two boxes"}),
    ("To get to the cup, please swing {side} past {boxes}", {"1box": "the single obstacle", "2box": "both obstacles"}),
    ("Your goal is the cup: bypass {boxes} on the {side}", {"1box": "one lone box", "2box": "a pair of boxes"}),
)
"""Every one has words that `instruction_for` never uses, and no more words than a policy reads."""
_WORD = re.compile(r"[a-z0-9]+")
_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def instruction_for(scenario: str) -> str:
    """What the operator was told. Boxes in line or across are told alike: the robot has to see that.

    Raises:
        EpisodeError: not one of the eight scenarios.
    """
    if scenario not in SCENARIOS:
        raise EpisodeError("scenario", f"expected one of {', '.join(SCENARIOS)}, got {scenario!r}")
    boxes, _, side = scenario.split("_")
    return f"Navigate around {_OBSTACLES[boxes]} by going {side} to reach the cup"


def paraphrase(instruction: str, *, wording: int) -> str | None:
    """The same in other words: as many boxes, the same side, the same goal; some of the words are new.

    Args:
        instruction: as `instruction_for` words it, whatever its case and punctuation.
        wording: which of the `WORDINGS`; larger numbers begin again.

    Returns:
        None for any other text: what is not understood cannot be said again.
    """
    scenario = _TOLD.get(tuple(words(instruction)))
    if scenario is None:
        return None
    boxes, side = scenario.split("_")[::2]
    template, obstacles = _WORDINGS[wording % WORDINGS]
    return template.format(side=side, boxes=obstacles[boxes])


def mirror_instruction(text: str) -> str:
    """The instruction seen in a mirror: the words left and right change places, their case is kept."""

    def other(match: re.Match[str]) -> str:
        word = match[0]
        swapped = "right" if word.lower() == "left" else "left"
        if word.isupper():
            return swapped.upper()
        return swapped.capitalize() if word[0].isupper() else swapped

    return _SIDE.sub(other, text)


def words(text: str) -> list[str]:
    """The lower-case words of an instruction: runs of a-z and 0-9."""
    return _WORD.findall(text.lower())


_TOLD = {tuple(words(instruction_for(scenario))): scenario for scenario in SCENARIOS}
"""One of the scenarios that are told alike, by its words."""


def tokenize(text: str, vocabulary: Sequence[str]) -> NDArray[np.int64]:
    """(16,) int64: 0 pads, 1 is a word that the vocabulary lacks, otherwise its index + 2."""
    index = {word: position + 2 for position, word in enumerate(vocabulary)}
    tokens = np.zeros(MAX_TOKENS, dtype=np.int64)
    for position, word in enumerate(words(text)[:MAX_TOKENS]):
        tokens[position] = index.get(word, UNKNOWN)
    return tokens
