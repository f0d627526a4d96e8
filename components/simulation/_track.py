"""Many drives through the same rooms, in parallel: processes that hold the policies, kept from drive to drive."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Self

import mujoco

from components.contracts import FrameSpec, Policy, PolicyBatch, Settings, TrialOutcome
from components.contracts.errors import ConfigurationError

from ._body import Motion
from ._camera import RENDERER, warm_up
from ._record import RecordedRoom, record_room
from ._shifts import NO_SHIFT, Shift
from ._trials import MAX_PRESSES, Recital, Reference, Room, TrialSettings, drive_by_map, drive_by_sight

if TYPE_CHECKING:
    from components.training import Crew

MakePolicy = Callable[[], Policy | PolicyBatch]
Driver = MakePolicy | Reference | Recital
SIMULATOR = f"{RENDERER}+mujoco-{mujoco.__version__}"
"""What rooms are driven in; figures name it."""

_ABREAST = 8
"""Rooms of a share, at most: as many as a batch of policies drives at once."""


@dataclass(frozen=True)
class _Share:
    rooms: tuple[Room, ...]
    settings: TrialSettings
    recorded: bool = False
    """The expert drives and is recorded; otherwise `settings` name the driver."""


class Track:
    """Drivers and the processes that they drive in. Use it as a context manager; they start when first needed.

    Paired: equal rooms, equal wheel slip, whatever drives; equal outcomes whatever the number of workers.

    Args:
        drivers: by name. A factory is called once in each process and is picklable, e.g. `functools.partial(
            components.policies.TorchDrivers, module)`. References: `expert` drives by the map, `straight-ahead` presses
            W, and a Recital presses by heart; they need no camera, and drive in this process.
        frame: size of the pictures that the policies are shown, or each one's by its name; one of another aspect than
            the camera's is shown 1280x720.
        workers: processes of Ray's; 1 drives in this one, without Ray.
        max_presses: a trial ends when the cup is reached, when something is touched, or after so many.
        motion: what a press does.
        settings: where Ray is; None reads them from the environment.

    Raises:
        ConfigurationError: no worker, or no press.
    """

    def __init__(
        self,
        drivers: Mapping[str, Driver],
        *,
        frame: FrameSpec | Mapping[str, FrameSpec] | None = None,
        workers: int = 2,
        max_presses: int = MAX_PRESSES,
        motion: Motion | None = None,
        settings: Settings | None = None,
    ) -> None:
        if workers < 1 or max_presses < 1:
            raise ConfigurationError(f"expected at least 1 worker and 1 press, got {workers} and {max_presses}")
        self._drivers, self._workers, self._settings = dict(drivers), workers, settings
        self._frames = frame if isinstance(frame, Mapping) else dict.fromkeys(drivers, frame or FrameSpec())
        self._trial = (max_presses, motion or Motion())
        self._stack = ExitStack()
        self._crew: Crew[_Share, list[Any]] | None = None
        self._cab = _Cab(self._drivers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._crew = None
        self._stack.close()

    def drive(
        self,
        name: str,
        rooms: Sequence[Room],
        shift: Shift | None = None,
        progress: Callable[[TrialOutcome], None] | None = None,
    ) -> list[TrialOutcome]:
        """Let one driver through every room once.

        Args:
            name: of a driver.
            rooms: e.g. of `trial_rooms`.
            shift: what is changed; None: nothing.
            progress: told of each outcome, in the order of their ends.

        Returns:
            An outcome a room, in the rooms' order.

        Raises:
            ConfigurationError: no rooms, or no such driver.
            Exception: whatever a policy raised.
        """
        if name not in self._drivers or not rooms:
            known = ", ".join(sorted(self._drivers))
            raise ConfigurationError(f"expected a driver of {known} and rooms, got {name!r} and {len(rooms)} rooms")
        here = isinstance(self._drivers[name], str | Recital)
        results = self._results(self._shares(name, rooms, self._frames.get(name), shift), here=here)
        return _in_order(_told(results, progress or (lambda outcome: None)))

    def record(
        self, rooms: Sequence[Room], shift: Shift | None = None, *, frame: FrameSpec | None = None
    ) -> list[RecordedRoom]:
        """The scripted operator's 17 presses through every room. Without a shift they are a `Demonstration`'s.

        Under a shift the operator knows what is changed (that frames come late, that one is missing): it presses what
        fits where the robot will be, and what is recorded is what a driver would have been shown.

        Args:
            rooms: any scenarios and seeds.
            shift: what is changed; None: nothing.
            frame: size of the frames.

        Returns:
            One a room, in the rooms' order.
        """
        shares = [replace(share, recorded=True) for share in self._shares("expert", rooms, frame, shift)]
        return _in_order(self._results(shares, here=False))

    def _shares(self, name: str, rooms: Sequence[Room], frame: FrameSpec | None, shift: Shift | None) -> list[_Share]:
        settings = TrialSettings(name, frame or FrameSpec(), shift or NO_SHIFT, *self._trial)
        return [_Share(part, settings) for part in _parts(tuple(rooms), self._workers)]

    def _results(self, shares: Sequence[_Share], *, here: bool) -> Iterator[tuple[int, list[Any]]]:
        if here or self._workers == 1:
            return ((index, self._cab(share)) for index, share in enumerate(shares))
        if self._crew is None:
            from components.training import share_out  # Ray is heavy, and robots on trial lack it

            warm_up()  # so that the processes find the compiled camera
            make = partial(_Cab, self._drivers)
            self._crew = self._stack.enter_context(share_out(make, workers=self._workers, settings=self._settings))
        return self._crew.each(shares)


class _Cab:
    """Drives shares, with policies that are made when they first drive."""

    def __init__(self, drivers: Mapping[str, Driver]) -> None:
        self._drivers = drivers
        self._made: dict[str, Policy | PolicyBatch] = {}

    def __call__(self, share: _Share) -> list[Any]:
        """RecordedRooms or TrialOutcomes."""
        name = share.settings.name
        if share.recorded:
            return [record_room(room, share.settings) for room in share.rooms]
        driver = self._drivers[name]
        if isinstance(driver, str | Recital):
            return [drive_by_map(driver, room, share.settings) for room in share.rooms]
        if name not in self._made:
            self._made[name] = driver()
        return list(drive_by_sight(self._made[name], share.rooms, share.settings))


def _parts(rooms: tuple[Room, ...], workers: int) -> list[tuple[Room, ...]]:
    """As equal as can be, as few as can be, as many for each worker."""
    count = min(len(rooms), workers * math.ceil(len(rooms) / (workers * _ABREAST)))
    edges = [len(rooms) * index // count for index in range(count + 1)] if count else []
    return [rooms[first:last] for first, last in pairwise(edges)]


def _told(
    results: Iterable[tuple[int, list[TrialOutcome]]], progress: Callable[[TrialOutcome], None]
) -> Iterator[tuple[int, list[TrialOutcome]]]:
    for index, driven in results:
        for outcome in driven:
            progress(outcome)
        yield index, driven


def _in_order(results: Iterable[tuple[int, list[Any]]]) -> list[Any]:
    return [item for _, part in sorted(results, key=itemgetter(0)) for item in part]


def record_expert(
    rooms: Sequence[Room],
    *,
    frame: FrameSpec | None = None,
    shift: Shift | None = None,
    workers: int = 2,
    settings: Settings | None = None,
) -> list[RecordedRoom]:
    """`Track.record` with a track of its own: for one suite. For several, keep a track, whose processes stay."""
    with Track({}, workers=workers, settings=settings) as track:
        return track.record(rooms, shift, frame=frame)
