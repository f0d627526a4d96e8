"""Sessions: what the policy remembers of each robot's episode, bounded in number and age."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from components.robot import Runtime, Session


@dataclass(eq=False)
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    session: Session | None = None
    used_at: float = 0.0


class Sessions:
    """By name, least recently used first to go.

    Args:
        runtime: whose memory it is.
        most: sessions that are kept; one more, and the least recently used is forgotten.
        ttl_s: seconds without a request after which a session is forgotten.
        clock: seconds, never backwards.
    """

    def __init__(
        self, runtime: Runtime, *, most: int = 256, ttl_s: float = 600, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.runtime = runtime
        self._most = most
        self._ttl_s = ttl_s
        self._clock = clock
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def episode(self, name: str, instruction: str, *, reset: bool) -> Iterator[Session]:
        """One request's turn with a session: others of that name wait, other names do not.

        A new name, another instruction or `reset` begins an episode.

        Raises:
            PolicyError: the policy cannot take this instruction; the session is as before.
        """
        slot = self._slot(name)
        with slot.lock:
            if slot.session is None or reset or slot.session.instruction != instruction:
                slot.session = self.runtime.session(instruction)
            yield slot.session

    def __len__(self) -> int:
        return len(self._slots)

    def _slot(self, name: str) -> _Slot:
        with self._lock:
            now = self._clock()
            while self._slots and next(iter(self._slots.values())).used_at < now - self._ttl_s:
                self._slots.popitem(last=False)
            slot = self._slots.setdefault(name, _Slot())
            slot.used_at = now
            self._slots.move_to_end(name)
            if len(self._slots) > self._most:
                self._slots.popitem(last=False)
            return slot
