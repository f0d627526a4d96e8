"""Whether a test episode was in training all along, by what is in the shards and not by what it is called.

Frames are compared by their detail: a small grey picture without its slow changes of light, of unit length. A distance
of 0 is the same picture whatever its brightness and contrast, 1 is no likeness. Two episodes are as far apart as their
frames side by side on average, at the shift that suits best. Measured at 80x45 pixels, mirror images too: the nearest
of 709,548 pairs of simulated episodes 0.20; of 288 pairs whose rooms share textures, light, furniture and colours 0.22;
of parts of one real tub, 50 frames each, 0.33 (20 frames: 0.16). Copies that were compressed at that size to JPEG
quality 30: 0.06 at most, with gamma 2: 0.05.

What is not covered: copies that are cropped or turned, or slowed in time and compressed too; single frames that were
compressed below quality 95 at the dataset's own size; episodes of nothing but flat frames, unless copied exactly.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.contracts import Leak, LeakCheck
from components.datasets import EpisodeFrames
from components.episodes import MIRROR_MASK, content_digest, frame_hash

_ROWS, _COLUMNS = 22, 40
_FINE, _COARSE = 0.5, 2.0
"""Between these two blurs lies the detail; in cells of the small picture."""
_FLAT = 0.5
"""Grey levels: a frame whose detail deviates by less has nothing to compare."""
_NEAR_BITS = 5
"""Of 64: pairs of episodes with no pair of frames whose hashes are this near are not looked at. Copies had one within
3."""
_COPY = 0.1
"""Mean distance of frames side by side, up to which one episode is a copy of the other."""
_SAME_FRAME = 0.002
"""Distance up to which a frame by itself is a copy. The nearest frames of the same pairs: 0.026, of rooms that share
their looks 0.005. Frames at 1280x720 in JPEG quality 30, then resized: 0.0017 at most."""
_LEAST_OVERLAP = 3
_BLOCK = 8, 16384
_MASK = np.frombuffer(MIRROR_MASK[:8].tobytes(), dtype=np.uint64)[0]

Details = NDArray[np.float16]
"""(N, rows * columns), each of unit length, or zero where the frame is flat."""


def check_leaks(
    training: Sequence[EpisodeFrames],
    validation: Sequence[EpisodeFrames],
    test: Sequence[EpisodeFrames],
    *,
    sessions: bool = True,
) -> LeakCheck:
    """Look for every test episode among those of training and validation: the same, nearly the same, mirrored, cut
    shorter, one frame of it, or of the same robot and session. 1,000 test episodes against 10,000 others take about a
    minute on one core (62 s measured) and 0.7 GB beside the frames.

    Args:
        training: as `load_split` gives them, whole splits; the same for the two after it.
        sessions: False where the dataset was split as one recording in order (`contiguous`): then a session on both
            sides is as intended, and single frames are not compared within one: neighbours share what is at the border.

    Returns:
        At most one leak of each kind a test episode: the nearest.
    """
    others = [*training, *validation]
    found = [*_same(test, others)]
    known = {(leak.test, leak.train) for leak in found}
    if sessions:
        found += _same_sessions(test, others)
    if test and others:
        found += [leak for leak in _copies(test, others, sessions) if (leak.test, leak.train) not in known]
    found.sort(key=lambda leak: (leak.test, leak.how, leak.train))
    return LeakCheck(test_episodes=len(test), other_episodes=len(others), sessions=sessions, leaks=tuple(found))


def _same(test: Sequence[EpisodeFrames], others: Sequence[EpisodeFrames]) -> Iterator[Leak]:
    """Equal file, or equal frames and actions under another name."""
    files = {item.sha256: item for item in reversed(others)}
    contents = {content_digest(item.frames, item.actions): item for item in reversed(others)}
    for item in test:
        other = files.get(item.sha256)
        what = "the same file"
        if other is None:
            other = contents.get(content_digest(item.frames, item.actions))
            what = "another file with the same frames and actions"
        if other is not None:
            yield Leak(test=item.sha256, train=other.sha256, how="same-episode", observed=what)


def _same_sessions(test: Sequence[EpisodeFrames], others: Sequence[EpisodeFrames]) -> Iterator[Leak]:
    recorded: dict[tuple[str, str], list[EpisodeFrames]] = {}
    for item in others:
        recorded.setdefault((item.robot, item.session), []).append(item)
    for item in test:
        shared = recorded.get((item.robot, item.session), [])
        if shared:
            observed = f"{len(shared)} other episodes of robot {item.robot}, session {item.session}"
            yield Leak(test=item.sha256, train=shared[0].sha256, how="same-session", observed=observed)


@dataclass(frozen=True)
class _Seen:
    """What is compared of many episodes' frames, end to end."""

    hashes: NDArray[np.uint64]
    details: Details
    owners: NDArray[np.int64]
    starts: NDArray[np.int64]
    """Of each episode, and the end."""

    @classmethod
    def of(cls, episodes: Sequence[EpisodeFrames]) -> "_Seen":
        lengths = [len(item.frames) for item in episodes]
        hashes = b"".join(frame_hash(frame) for item in episodes for frame in item.frames)
        return cls(
            hashes=np.frombuffer(hashes, dtype=np.uint64),
            details=np.concatenate([details(item.frames) for item in episodes]),
            owners=np.repeat(np.arange(len(episodes)), lengths),
            starts=np.concatenate([[0], np.cumsum(lengths)]),
        )

    def episode(self, index: int) -> Details:
        return self.details[self.starts[index] : self.starts[index + 1]]


def details(frames: NDArray[np.uint8]) -> Details:
    """(T, h, w, 3) -> (T, 880): see the module's docstring. Colours count alike, so that swapped ones are the same."""
    grey = frames.astype(np.float32) @ np.full(3, 1 / 3, dtype=np.float32)
    fine, coarse = (
        _blur(grey.shape[1], _ROWS, width) @ grey @ _blur(grey.shape[2], _COLUMNS, width).T
        for width in (_FINE, _COARSE)
    )
    flat = (fine - coarse).reshape(len(frames), -1)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    enough = length > _FLAT * np.sqrt(flat.shape[1])
    return np.where(enough, flat / np.where(enough, length, 1), 0).astype(np.float16)


def _blur(size: int, cells: int, width: float) -> NDArray[np.float32]:
    """(cells, size): Gaussian means about the middles of equal cells, `width` cells wide."""
    middles = (np.arange(cells) + 0.5) * size / cells
    spread = max(width * size / cells, 0.3)  # a frame smaller than the cells: its nearest pixels
    weights = np.exp(-0.5 * ((np.arange(size) + 0.5 - middles[:, None]) / spread) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True)
class _Likeness:
    """How near two episodes are at their best."""

    mean: float
    """Over the frames side by side, at the shift that suits best."""
    shift: int
    """So many frames later in the other episode."""
    frames: int
    """Side by side at that shift."""
    single: float
    """Of the two nearest frames, first views left out: robots start at one mark."""


def _copies(test: Sequence[EpisodeFrames], others: Sequence[EpisodeFrames], sessions: bool) -> Iterator[Leak]:
    mine, theirs = _Seen.of(test), _Seen.of(others)
    nearest: dict[tuple[int, bool], tuple[float, Leak]] = {}
    for mirrored in (False, True):
        for index, other in _pairs(mine, theirs, _MASK if mirrored else np.uint64(0)):
            one, two = test[index], others[other]
            seen = mine.episode(index)
            like = _likeness(_mirror(seen) if mirrored else seen, theirs.episode(other))
            singly = sessions or (one.robot, one.session) != (two.robot, two.session)
            told = _told(like, singly=singly)
            if told is None:
                continue
            how = "mirror-image" if mirrored else "near-duplicate"
            leak = Leak(test=one.sha256, train=two.sha256, how=how, observed=told)
            found = nearest.setdefault((index, mirrored), (like.mean, leak))
            if like.mean < found[0]:
                nearest[index, mirrored] = like.mean, leak
    return (leak for _, leak in nearest.values())


def _told(like: _Likeness, *, singly: bool) -> str | None:
    """What was observed, where that is a copy."""
    if like.mean <= _COPY:
        way = "later" if like.shift > 0 else "earlier"
        place = f"{abs(like.shift)} frames {way} there" if like.shift else "there"
        return f"{like.frames} frames differ by {like.mean:.3f} on average from those {place}; up to {_COPY} is a copy"
    if singly and like.single <= _SAME_FRAME:
        return f"a frame differs by {like.single:.4f} from one there; up to {_SAME_FRAME} is the same frame"
    return None


def _pairs(mine: _Seen, theirs: _Seen, mask: np.uint64) -> Iterator[tuple[int, int]]:
    """(test episode, other episode) of which at least one pair of frames looks alike, by their hashes."""
    rows, columns = (np.flatnonzero(seen.details.any(axis=1)) for seen in (mine, theirs))
    hashes, across = mine.hashes[rows] ^ mask, theirs.hashes[columns]
    many, pairs = len(theirs.starts), [np.empty(0, dtype=np.int64)]
    for top in range(0, len(rows), _BLOCK[0]):
        for left in range(0, len(columns), _BLOCK[1]):
            part = np.bitwise_count(hashes[top : top + _BLOCK[0], None] ^ across[left : left + _BLOCK[1]])
            row, column = np.nonzero(part <= _NEAR_BITS)
            if len(row):
                pairs.append(np.unique(mine.owners[rows[top + row]] * many + theirs.owners[columns[left + column]]))
    for pair in np.unique(np.concatenate(pairs)).tolist():
        yield divmod(pair, many)


def _mirror(seen: Details) -> Details:
    return np.asarray(seen.reshape(-1, _ROWS, _COLUMNS)[:, :, ::-1].reshape(len(seen), -1))


def _likeness(mine: Details, theirs: Details) -> _Likeness:
    one, two = mine.astype(np.float32), theirs.astype(np.float32)
    distance = 1 - one @ two.T
    known = np.outer(one.any(axis=1), two.any(axis=1))
    shifts = (np.arange(len(two)) - np.arange(len(one))[:, None] + len(one) - 1).ravel()
    counts = np.bincount(shifts, weights=known.ravel())
    means = np.bincount(shifts, weights=(distance * known).ravel()) / np.maximum(counts, 1)
    means[counts < max(_LEAST_OVERLAP, min(one.any(axis=1).sum(), two.any(axis=1).sum()) / 2)] = 2.0
    best = int(means.argmin())
    moved = known & np.outer(_moved(one), _moved(two))
    return _Likeness(
        mean=float(max(means[best], 0.0)),
        shift=best - len(one) + 1,
        frames=int(counts[best]),
        single=float(max(distance[moved].min(initial=2.0), 0.0)),
    )


def _moved(seen: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(T,): the view is not the first one any more."""
    return np.asarray(1 - seen @ seen[0] > _SAME_FRAME)
