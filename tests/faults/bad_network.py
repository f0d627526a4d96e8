"""A network that breaks for real: a TCP proxy that cuts connections after so many bytes, or takes none at all."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: close sends RST, what is in flight is lost


class BadNetwork:
    """Stands before a server. Change `cut_after` and `down` at any time; the counts are of what was let through."""

    def __init__(self, target: str, *, cut_after: int | None = None, way: Literal["up", "down"] = "up") -> None:
        """Args: target, host:port; cut_after, bytes of one connection; way, which ones: `up` goes to the server."""
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self.cut_after, self.way, self.down = cut_after, way, False
        self.bytes = {"up": 0, "down": 0}
        self.cuts = 0
        self.down_after_cuts: int | None = None
        """Nobody answers any more after so many cuts."""
        self.cut_answers = 0
        """So many answers that come next are lost: their requests arrive."""
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                server = None if self.down else socket.create_connection(self._target, timeout=10)
            except OSError:
                server = None
            if server is None:
                _reset(client)
                return
            with server:
                server.settimeout(None)
                up = threading.Thread(target=self._pump, args=("up", client, server), daemon=True)
                up.start()
                self._pump("down", server, client)
                up.join()

    def _pump(self, way: str, source: socket.socket, target: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(16_384):
                if way == "down" and self._loses_answer():
                    break
                if way == self.way and self.cut_after is not None:
                    data = data[: max(0, self.cut_after - passed)]
                target.sendall(self.changed(way, data))
                passed += len(data)
                with self._lock:
                    self.bytes[way] += len(data)
                if self.down or (way == self.way and self.cut_after is not None and passed >= self.cut_after):
                    self._count_cut()
                    if way == "down":  # what reached the client stays readable: a reset would take it away again
                        target.shutdown(socket.SHUT_WR)
                        _reset(source)
                        return
                    break
            else:
                target.shutdown(socket.SHUT_WR)
                return
        _reset(source)
        _reset(target)

    def changed(self, _way: str, data: bytes) -> bytes:
        """The bytes that go on: the same, unless a network of another kind changes it."""
        return data

    def _count_cut(self) -> None:
        with self._lock:
            self.cuts += 1
            self.down = self.down or (self.down_after_cuts is not None and self.cuts >= self.down_after_cuts)

    def _loses_answer(self) -> bool:
        with self._lock:
            lost = self.cut_answers > 0
            self.cut_answers -= lost
            self.cuts += lost
        return lost


@contextmanager
def bad_network(
    target: str, *, cut_after: int | None = None, way: Literal["up", "down"] = "up"
) -> Iterator[BadNetwork]:
    network = BadNetwork(target, cut_after=cut_after, way=way)
    try:
        yield network
    finally:
        network.close()


def _reset(end: socket.socket) -> None:
    """What is in flight is lost; whoever closes the socket sends RST."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        end.shutdown(socket.SHUT_RDWR)
