"""New keys for a role whose old ones are lost or stolen. Robots walk the chain of roots when they come back."""

import copy

from components.contracts.errors import AlreadyExistsError, PromotionError

from ._metadata import View, expiry
from ._repository import ReleaseRepository

TOP = ("root", "targets", "snapshot", "timestamp")
DELEGATED = ("releases", "director")


def rotate_keys(repository: ReleaseRepository, role: str) -> None:
    """Replace every key of a role by a new one and sign anew what it signs. The old key files stay, and count no more.

    Args:
        repository: with the keys of the delegating role (root, or targets) at hand.
        role: root, targets, snapshot, timestamp, releases or director.

    Raises:
        PromotionError: no such role, keys are missing, or someone else published or rotated at the same time.
    """
    finish_rotation(repository)
    if role in TOP:
        _rotate_in_root(repository, role)
        finish_rotation(repository)
    elif role in DELEGATED:
        _rotate_in_targets(repository, role)
    else:
        raise PromotionError(f"expected one of {', '.join(TOP + DELEGATED)}, got {role!r}")


def finish_rotation(repository: ReleaseRepository) -> None:
    """Sign the published state with the keys of the newest root, if an older one vouches for it still.

    Raises:
        PromotionError: no root vouches for it, or keys are missing.
    """
    metadata = repository.metadata
    newest, *older = reversed(metadata.load_roots())
    try:
        metadata.load(newest)
    except PromotionError:
        if not older:
            raise
    else:
        return
    view = metadata.load(older[0])
    view.root = newest
    metadata.publish_over(view, {"targets"})


def _rotate_in_root(repository: ReleaseRepository, role: str) -> None:
    """A new root, signed by the old root's keys and by its own."""
    metadata, keys = repository.metadata, repository.keys
    root = metadata.load_roots()[-1]
    before = keys.signers("root", root.roles["root"].keyids, root.roles["root"].threshold)
    following = copy.deepcopy(root)
    for keyid in list(root.roles[role].keyids):
        following.revoke_key(keyid, role)
    for signer in keys.add(role, len(root.roles[role].keyids)):
        following.add_key(signer.public_key, role)
    after = keys.signers("root", following.roles["root"].keyids, following.roles["root"].threshold)
    following.version, following.expires = root.version + 1, expiry(repository.clock(), "root")
    signers = {signer.public_key.keyid: signer for signer in (*before, *after)}
    try:
        metadata.put_root(following, list(signers.values()))
    except AlreadyExistsError:
        raise PromotionError("someone else changed the root at the same time; look, and try again") from None


def _rotate_in_targets(repository: ReleaseRepository, role: str) -> None:
    made = repository.keys.add(role, len(repository.metadata.load().delegation(role).keyids))

    def change(view: View) -> set[str]:
        for keyid in list(view.delegation(role).keyids):
            view.targets.revoke_key(keyid, role)
        for signer in made:
            view.targets.add_key(signer.public_key, role)
        return {"targets", role}

    repository.metadata.commit(change)
