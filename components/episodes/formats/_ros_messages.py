"""ROS 2 messages to what an episode is made of. Loads `rosbags`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore

from components.contracts.errors import EpisodeError

from ._bag import RawMessage
from ._conversion import Action, Remarks
from ._images import MAX_BYTES, raw_image, read_image
from ._synchronise import Message

_MAX_TEXT = 512


@dataclass(frozen=True, eq=False)
class RosImage:
    """A deserialised image message; decoded when a frame needs it."""

    message: Any
    compressed: bool
    where: str

    def decode(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""
        data = self.message.data
        if self.compressed:
            if "compressedDepth" in self.message.format:
                raise EpisodeError(
                    "image",
                    f"{self.where}: expected a picture, got depth ({self.message.format}); choose another camera",
                )
            return read_image(data.tobytes(), self.where)
        return raw_image(
            data, self.message.encoding, width=int(self.message.width), height=int(self.message.height),
            step=int(self.message.step), where=self.where,
        )  # fmt: skip


class Decoder:
    """Deserialises, with the definitions of ROS 2 Humble: those of the types it reads are the same in every release."""

    def __init__(self, remarks: Remarks) -> None:
        self._store = get_typestore(Stores.ROS2_HUMBLE)
        self._remarks = remarks

    def decoded(self, kind: str, raw: RawMessage) -> Message[RosImage]:
        """A message of a kind of `KINDS`.

        Raises:
            EpisodeError: `message`, it is not what its type says; `image`, too large.
        """
        decode = {
            "image": self.image, "command": self.command, "instruction": self.instruction, "event": self.event,
        }  # fmt: skip
        return decode[kind](raw)

    def image(self, raw: RawMessage) -> Message[RosImage]:
        if len(raw.data) > MAX_BYTES:
            raise EpisodeError("image", f"{raw.topic}: expected at most {MAX_BYTES} bytes, got {len(raw.data)}")
        message = self._read(raw)
        image = RosImage(message, raw.type.endswith("CompressedImage"), f"{raw.topic} at {raw.time_ns}")
        return Message("image", raw.time_ns, _nanoseconds(message.header.stamp), image=image)

    def command(self, raw: RawMessage) -> Message[RosImage]:
        message = self._read(raw)
        stamped = raw.type.endswith("TwistStamped")
        twist = message.twist if stamped else message
        if any((twist.linear.z, twist.angular.x, twist.angular.y)):
            self._remarks.lose(f"{raw.topic}: linear.z, angular.x and angular.y (an episode's robot drives on a floor)")
        action: Action = (twist.linear.x, twist.linear.y, twist.angular.z)
        return Message("command", raw.time_ns, _nanoseconds(message.header.stamp) if stamped else 0, action=action)

    def instruction(self, raw: RawMessage) -> Message[RosImage]:
        text = str(self._read(raw).data)
        if len(text) > _MAX_TEXT:
            self._remarks.lose(f"{raw.topic}: an instruction's text after {_MAX_TEXT} characters")
        return Message("instruction", raw.time_ns, 0, text=text[:_MAX_TEXT])

    def event(self, raw: RawMessage) -> Message[RosImage]:
        return Message("event", raw.time_ns, 0, text=str(self._read(raw).data))

    def _read(self, raw: RawMessage) -> Any:
        try:
            return self._store.deserialize_cdr(raw.data, raw.type)
        except Exception as error:  # noqa: BLE001  # generated code over bytes from outside: whatever it trips over
            raise EpisodeError(
                "message", f"{raw.topic} at {raw.time_ns}: expected a {raw.type} in CDR, but: {error!r}"
            ) from None


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)
