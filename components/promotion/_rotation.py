"""New keys for a role whose old ones are lost or stolen. Robots walk the chain of roots when they come back."""

import copy

from tuf.api.metadata import Root

from components.contracts.errors import AlreadyExistsError, PromotionError

from ._metadata import View, expiry, sign
from ._repository import ReleaseRepository

TOP = ("root", "targets", "snapshot", "timestamp")


def rotate_keys(repository: ReleaseRepository, role: str) -> None:
    """Replace every key of a role by a new one and sign anew what it signs. The old key files stay, and count no more.

    Args:
        repository: with the keys of the delegating role (root, or targets) at hand.
        role: root, targets, snapshot, timestamp, releases or director.

    Raises:
        PromotionError: no such role, keys are missing, or someone else changed the root at the same time.
    """
    metadata, keys = repository.metadata, repository.keys
    root = metadata.load_root()
    if role in TOP:
        old = root.roles["root"]
        before = keys.signers("root", old.keyids, old.threshold)
        # The repository is signed with the old keys up to here: read it before the root forgets them.
        view = metadata.load()
        following = _rotated(root, role, repository)
        after = keys.signers("root", following.roles["root"].keyids, following.roles["root"].threshold)
        signers = {signer.public_key.keyid: signer for signer in (*before, *after)}
        following.version, following.expires = root.version + 1, expiry(repository.clock(), "root")
        try:
            metadata.put(f"{following.version}.root.json", sign(following, list(signers.values())))
        except AlreadyExistsError:
            raise PromotionError("someone else changed the root at the same time; look, and try again") from None
        if role != "root":
            view.root = following
            metadata.publish_over(view, {"targets"} if role == "targets" else {"director"})
        return
    if role not in {"releases", "director"}:
        raise PromotionError(f"expected one of {', '.join(TOP)}, releases, director, got {role!r}")

    def change(view: View) -> set[str]:
        delegation = view.delegation(role)
        for keyid in list(delegation.keyids):
            view.targets.revoke_key(keyid, role)
        for signer in made:
            view.targets.add_key(signer.public_key, role)
        return {"targets", role}

    made = keys.add(role, len(metadata.load().delegation(role).keyids))
    metadata.commit(change)


def _rotated(root: Root, role: str, repository: ReleaseRepository) -> Root:
    following = copy.deepcopy(root)
    count = len(root.roles[role].keyids)
    for keyid in list(root.roles[role].keyids):
        following.revoke_key(keyid, role)
    for signer in repository.keys.add(role, count):
        following.add_key(signer.public_key, role)
    return following
