"""Ed25519 public keys that a signature can be believed under.

Libraries verify signatures under any 32 bytes that decode to a point. Under a point of small order one signature
verifies for many messages; of a point with such a part, libraries differ on which signatures verify. So a key counts
only if it is the canonical encoding of a point of the prime-order group, other than the neutral one; every key that was
generated as RFC 8032 says is one. Arithmetic of RFC 8032, sections 5.1.1 to 5.1.4.

What is not covered: secrets. Nothing here runs in constant time, and nothing here needs to.
"""

from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator

from ._refs import Sha256

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
_Point = tuple[int, int, int, int]
"""Extended homogeneous coordinates X, Y, Z, T: x = X/Z, y = Y/Z, x*y = T/Z."""
_NEUTRAL: _Point = (0, 1, 1, 0)


@lru_cache(maxsize=4096)
def is_sound_key(key: str) -> bool:
    """32 bytes in hex are a public key under which a signature is its holder's alone."""
    try:
        encoded = int.from_bytes(bytes.fromhex(key), "little")
    except ValueError:
        return False
    point = _decoded(encoded) if len(key) == 64 else None
    return point is not None and not _is_neutral(point) and _is_neutral(_times(_L, point))


def _checked(key: str) -> str:
    if not is_sound_key(key):
        raise ValueError("expected an Ed25519 public key of the prime-order group, found one that anybody can sign for")
    return key


PublicKey = Annotated[Sha256, AfterValidator(_checked)]
"""Ed25519, 32 bytes, lower-case hex."""


def _decoded(encoded: int) -> _Point | None:
    """None: not canonical, or not on the curve."""
    sign, y = encoded >> 255, encoded & (2**255 - 1)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _added(one: _Point, other: _Point) -> _Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c = 2 * one[3] * other[3] * _D % _P
    d = 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(number: int, point: _Point) -> _Point:
    total = _NEUTRAL
    while number:
        if number & 1:
            total = _added(total, point)
        point = _added(point, point)
        number >>= 1
    return total


def _is_neutral(point: _Point) -> bool:
    return point[0] % _P == 0 and (point[1] - point[2]) % _P == 0
