"""Named lists of episodes: `datasets/collections/<name>/<n>.json`, versions that are written once and never change."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from components.contracts import Collection, CollectionName, CollectionRef, DatasetSpec, EpisodeRecord
from components.contracts.errors import AlreadyExistsError, DatasetError
from components.storage import ObjectStore

from ._curation import curate
from ._documents import BUCKET, read_documents
from ._split import deal, group, recording_order

EVERYTHING = "all"
"""In place of a collection: every admitted episode that is not deleted."""

_KEY = re.compile(r"^collections/(?P<name>[a-z0-9][a-z0-9-]{0,62})/(?P<number>[1-9]\d{0,8})\.json$")
_NAME: TypeAdapter[str] = TypeAdapter(CollectionName)
_REF: TypeAdapter[str] = TypeAdapter(CollectionRef)


def collections(store: ObjectStore) -> list[Collection]:
    """The latest version of each collection, by name."""
    latest = _latest(store, "collections/")
    return read_documents(store, [_key(name, latest[name]) for name in sorted(latest)], Collection)


def open_collection(store: ObjectStore, ref: str) -> Collection:
    """A collection by `name` (its latest version) or `name@3`.

    Raises:
        DatasetError: no such collection or version; the message names those there are.
    """
    _check(_REF, ref, "a collection as name or name@version, in lower case, digits and hyphens")
    name, _, number = ref.partition("@")
    latest = _latest(store, f"collections/{name}/").get(name)
    if latest is None:
        names = sorted(_latest(store, "collections/"))
        raise DatasetError(
            f"there is no collection {name!r}; there "
            + (f"are: {', '.join(names)}" if names else "is none yet: make one with `drover episodes collect`")
        )
    if number and int(number) > latest:
        raise DatasetError(f"there is no {ref}: the latest version is {name}@{latest}")
    key = _key(name, int(number or latest))
    return Collection.parse(store.get(BUCKET, key), source=f"s3://{BUCKET}/{key}")


def keep_collection(store: ObjectStore, name: str, episodes: Iterable[str], *, origin: str, by: str) -> Collection:
    """Make a collection, or its next version. Equal episodes give the version that is there.

    Args:
        episodes: SHA-256s.
        origin: How the list was made, for whoever reads it later.
        by: Who.

    Raises:
        DatasetError: a name that is none, no episodes, or another writer made a version in the same moment.
    """
    _check(_NAME, name, "a collection's name of lower case, digits and hyphens")
    if name == EVERYTHING:
        raise DatasetError(f"{EVERYTHING!r} stands for every episode; give the collection another name")
    listed = tuple(sorted(set(episodes)))
    if not listed:
        raise DatasetError(f"collection {name}: expected at least one episode, got none; widen what it is made from")
    number = _latest(store, f"collections/{name}/").get(name, 0) + 1
    if number > 1 and (before := open_collection(store, f"{name}@{number - 1}")).episodes == listed:
        return before
    made = Collection(name=name, number=number, episodes=listed, origin=origin, by=by, at=datetime.now(UTC))
    try:
        store.put(BUCKET, _key(name, number), made.canonical_json(), if_absent=True)
    except AlreadyExistsError:
        raise DatasetError(
            f"somebody else made {made.ref} in the same moment, and yours was not written; look at theirs "
            f"(drover episodes list --collection {made.ref}) and run this again"
        ) from None
    return made


def merge_collections(store: ObjectStore, sources: Sequence[str], into: str, *, by: str) -> Collection:
    """The episodes of several collections as one; what is in two of them is in it once.

    Raises:
        DatasetError: an unknown source, or as `keep_collection`.
    """
    opened = [open_collection(store, ref) for ref in sources]
    origin = f"merge of {', '.join(item.ref for item in opened)}"
    return keep_collection(store, into, (sha256 for item in opened for sha256 in item.episodes), origin=origin, by=by)


def split_collection(
    store: ObjectStore,
    source: str,
    records: Sequence[EpisodeRecord],
    shares: Mapping[str, float],
    *,
    balance: Literal["scenario", "session"] = "scenario",
    seed: int = 0,
    by: str,
) -> list[Collection]:
    """Deal a collection's episodes to several, without leaks: what shares robot and session, content, or frames that
    are nearly the same or mirrored, stays together. Deleted episodes go to none of them.

    Doing it again, e.g. after a kill half-way, gives the same parts and no new versions.

    Args:
        source: A collection, or `all`.
        records: All admitted episodes.
        shares: Name of a part -> its share; together 1.
        balance: `scenario` gives each part its share of every scenario, as near as whole groups allow; `session` its
            share of all episodes, whatever they show.
        seed: Decides where the balance does not.

    Raises:
        DatasetError: an unknown source, shares that make no sense, fewer groups than parts, or as `keep_collection`.
    """
    if len(shares) < 2 or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        said = ", ".join(f"{name}={share:g}" for name, share in shares.items())
        raise DatasetError(f"expected at least two parts with shares above 0 that sum to 1, got {said or 'none'}")
    for name in shares:
        _check(_NAME, name, "a collection's name of lower case, digits and hyphens")
        if name in {source.partition("@")[0], EVERYTHING}:
            raise DatasetError(f"a part of {source} cannot be called {name} too; give it a name of its own")
    origin, chosen = _members(store, source, records)
    groups = group(recording_order(chosen))
    if len(groups) < len(shares):
        raise DatasetError(
            f"{source}: expected at least {len(shares)} groups of episodes that share no robot and session (and no "
            f"frames), one a part, got {len(groups)} from {len(chosen)} episodes; split it into fewer parts"
        )
    dealt = deal(groups, tuple(shares.values()), seed=seed, by_scenario=balance == "scenario")
    return [
        keep_collection(
            store,
            name,
            (record.file.sha256 for members, to in zip(groups, dealt, strict=True) if to == part for record in members),
            origin=f"{share:g} of {origin} by {balance}, seed {seed}",
            by=by,
        )
        for part, (name, share) in enumerate(shares.items())
    ]


def select(
    store: ObjectStore, spec: DatasetSpec, records: Sequence[EpisodeRecord]
) -> tuple[DatasetSpec, list[EpisodeRecord]]:
    """What a dataset is built from: the spec with its collection's version, and the episodes that it takes, as edited
    and without the deleted ones. To be called before `build_dataset`, so that whoever remembers builds by their inputs
    sees every edit.

    Args:
        records: All admitted episodes.

    Raises:
        DatasetError: no such collection, or one that lists an episode which is not among `records`.
    """
    if spec.collection:
        _complete(open_collection(store, spec.collection), records)
    return restrict(store, spec, curate(store, records))


def restrict(
    store: ObjectStore, spec: DatasetSpec, records: Sequence[EpisodeRecord]
) -> tuple[DatasetSpec, list[EpisodeRecord]]:
    """The spec with its collection's version, and the records of its source and collection."""
    chosen = [record for record in records if spec.source in {None, record.summary.source}]
    if spec.collection is None:
        return spec, chosen
    collection = open_collection(store, spec.collection)
    members = set(collection.episodes)
    pinned = spec.model_copy(update={"collection": collection.ref})
    return pinned, [record for record in chosen if record.file.sha256 in members]


def _members(store: ObjectStore, source: str, records: Sequence[EpisodeRecord]) -> tuple[str, list[EpisodeRecord]]:
    """What it is precisely, and its episodes that are not deleted."""
    curated = curate(store, records)
    if source == EVERYTHING:
        return source, curated
    collection = open_collection(store, source)
    _complete(collection, records)
    members = set(collection.episodes)
    return collection.ref, [record for record in curated if record.file.sha256 in members]


def _complete(collection: Collection, records: Sequence[EpisodeRecord]) -> None:
    missing = set(collection.episodes) - {record.file.sha256 for record in records}
    if missing:
        raise DatasetError(
            f"{collection.ref} lists {len(missing)} episodes that are not admitted here, {min(missing)[:12]} for one; "
            "upload them, or make a version without them (drover episodes collect)"
        )


def _latest(store: ObjectStore, prefix: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for info in store.list(BUCKET, prefix):
        if match := _KEY.match(info.key):
            found[match["name"]] = max(found.get(match["name"], 0), int(match["number"]))
    return found


def _key(name: str, number: int) -> str:
    return f"collections/{name}/{number}.json"


def _check(kind: TypeAdapter[str], value: str, expected: str) -> None:
    try:
        kind.validate_python(value)
    except ValidationError:
        raise DatasetError(f"expected {expected}, got {value!r}") from None
