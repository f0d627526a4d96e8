"""Was a test episode seen in training? (Being written by engineer D: this one knows exact copies alone.)"""

import hashlib
from collections.abc import Sequence

from components.contracts import Leak, LeakCheck
from components.datasets import EpisodeFrames


def check_leaks(
    training: Sequence[EpisodeFrames], validation: Sequence[EpisodeFrames], test: Sequence[EpisodeFrames]
) -> LeakCheck:
    """Exact copies of frames and actions."""
    others = [*training, *validation]
    known = {_content(item): item.sha256 for item in others}
    leaks = [
        Leak(test=item.sha256, train=known[_content(item)], how="same-episode", observed="equal frames and actions")
        for item in test
        if _content(item) in known
    ]
    return LeakCheck(test_episodes=len(test), other_episodes=len(others), leaks=tuple(leaks))


def _content(item: EpisodeFrames) -> str:
    return hashlib.sha256(item.frames.tobytes() + item.actions.tobytes()).hexdigest()
