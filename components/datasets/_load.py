"""Episodes, back in memory: a split's from its shards, any others from their files."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from safetensors.numpy import load

from components.contracts import DatasetVersion, EpisodeRecord, FrameSpec, Split
from components.contracts.errors import DatasetError
from components.storage import ObjectStore, fetch

from ._decode import decode
from ._frames import EpisodeFrames


def load_split(store: ObjectStore, dataset: DatasetVersion, split: Split) -> list[EpisodeFrames]:
    """All episodes of a split, in the manifest's order; only its shards are fetched. Fits in memory: an 18-frame
    episode of 80x45 is 190 KiB.

    Raises:
        IntegrityError: a shard's bytes are not those that the manifest names.
        DatasetError: a shard does not hold the frames that the manifest says.
    """
    episodes: list[EpisodeFrames] = []
    for shard, members in groupby(dataset.of(split), key=lambda episode: episode.shard):
        ref = dataset.shards[shard]
        tensors = load(fetch(store, ref))
        frames, actions, start = tensors["frames"], tensors["actions"], 0
        listed = list(members)
        if not len(frames) == len(actions) == sum(episode.frames for episode in listed):
            raise DatasetError(
                f"{ref.uri}: expected {sum(episode.frames for episode in listed)} frames, got {len(frames)} and "
                f"{len(actions)} actions; build the dataset again"
            )
        for episode in listed:
            part = slice(start, start + episode.frames)
            start += episode.frames
            episodes.append(
                EpisodeFrames(
                    sha256=episode.sha256,
                    name=episode.name,
                    robot=episode.robot,
                    session=episode.session,
                    scenario=episode.scenario,
                    instruction=episode.instruction,
                    frames=frames[part],
                    actions=actions[part],
                )
            )
    return episodes


def load_episodes(
    store: ObjectStore, records: Sequence[EpisodeRecord], frame: FrameSpec, *, workers: int = 2
) -> Iterator[EpisodeFrames]:
    """Admitted episodes that are in no shard, decoded as a dataset would: one after the other, in the records' order.

    Args:
        records: As `curate` or `catalogue` give them, so that edits count.
        frame: The size that their frames are wanted in.
        workers: Decoding processes.

    Raises:
        DatasetError: an episode that cannot be read, or holds no finite actions.
        IntegrityError: an episode whose bytes are not those that its record names.
    """
    for record, decoded in zip(records, decode(store, records, frame, workers=workers), strict=True):
        summary = record.summary
        yield EpisodeFrames(
            sha256=record.file.sha256,
            name=summary.name,
            robot=summary.robot,
            session=summary.session,
            scenario=summary.scenario,
            instruction=summary.instruction,
            frames=decoded.frames,
            actions=decoded.actions,
        )
