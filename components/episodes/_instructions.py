"""Instructions: what a robot is told, and how a policy reads it."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from components.contracts.errors import EpisodeError

from ._names import SCENARIOS

MAX_TOKENS = 16
"""Words of an instruction that a policy reads; the rest is cut off."""

_OBSTACLES = {"1box": "the single box obstacle", "2box": "the two box obstacles"}
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


def tokenize(text: str, vocabulary: Sequence[str]) -> NDArray[np.int64]:
    """(16,) int64: 0 pads, 1 is a word that the vocabulary lacks, otherwise its index + 2."""
    index = {word: position + 2 for position, word in enumerate(vocabulary)}
    tokens = np.zeros(MAX_TOKENS, dtype=np.int64)
    for position, word in enumerate(words(text)[:MAX_TOKENS]):
        tokens[position] = index.get(word, 1)
    return tokens
