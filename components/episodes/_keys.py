"""Key presses: the robots' whole action vocabulary."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from components.contracts import ACTION_LIMIT

_SIGNS = {
    "W": (1, 0, 0), "S": (-1, 0, 0), "A": (0, 1, 0), "D": (0, -1, 0), "R": (0, 0, 1), "T": (0, 0, -1),
    "Q": (1, 1, 0), "E": (1, -1, 0), "Z": (-1, 1, 0), "C": (-1, -1, 0), "space": (0, 0, 0),
}  # fmt: skip


def _action(signs: tuple[int, int, int]) -> NDArray[np.float32]:
    action = np.float32(ACTION_LIMIT) * np.array(signs, dtype=np.float32) + np.float32(0)  # + 0: no negative zero
    action.setflags(write=False)
    return action


KEYS: dict[str, NDArray[np.float32]] = {key: _action(signs) for key, signs in _SIGNS.items()}
"""Key -> (3,) float32: linear_x (m/s), linear_y (m/s), angular_z (rad/s)."""

_TOLERANCE = 1e-3
_BY_SIGNS = {signs: key for key, signs in _SIGNS.items()}


def key_of(action: ArrayLike) -> str | None:
    """The key that commands `action` (3,), within 0.001 on each axis; None if there is none."""
    values = np.asarray(action, dtype=np.float64)
    if values.shape != (3,) or not np.isfinite(values).all():
        return None
    signs = np.rint(np.clip(values / ACTION_LIMIT, -2, 2))
    if np.abs(values - signs * ACTION_LIMIT).max() > _TOLERANCE:
        return None
    return _BY_SIGNS.get((int(signs[0]), int(signs[1]), int(signs[2])))


def mirror_actions(actions: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., 3) actions seen in a mirror: linear_y and angular_z change sign."""
    return actions * np.array([1, -1, -1], dtype=np.float32) + np.float32(0)
