"""A split, back in memory."""

from itertools import groupby

from safetensors.numpy import load

from components.contracts import DatasetVersion, Split
from components.contracts.errors import DatasetError
from components.storage import ObjectStore, fetch

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
