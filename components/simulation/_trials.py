"""Closed loop: who drives seeded rooms that no demonstration was recorded in, press by press."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from components.contracts import FrameSpec, Policy, PolicyBatch, TrialOutcome
from components.contracts.errors import ConfigurationError
from components.episodes import KEYS, SCENARIOS

from ._body import Body, Motion
from ._camera import CAMERA_HEIGHT, CAMERA_WIDTH, Camera, Mount
from ._expert import Expert, shortest_path
from ._scenario import Scenario, sample_scenario
from ._shifts import NO_SHIFT, Shift

Reference = Literal["expert", "straight-ahead"]
Room = tuple[str, int]
"""Scenario and seed: `sample_scenario(*room)`."""
Pose = tuple[float, float, float]
Picture = NDArray[np.uint8]
Action = NDArray[np.float32]

MAX_PRESSES = 24
_FIRST_TRIAL_SEED = 10**9  # demonstrations' seeds are below: see _fleet.py
_RAYS_ACROSS = 320


@dataclass(frozen=True, eq=False)
class Recital:
    """Presses by heart: a driver that never looks, and so needs no camera."""

    presses: Mapping[str, Action]
    """By scenario: (T, 3), the first is pressed first; after the last the robot stands."""

    def press(self, scenario: str, step: int) -> Action:
        """The press number `step`, from 0."""
        known = self.presses[scenario]
        return known[step] if step < len(known) else KEYS["space"]


@dataclass(frozen=True)
class TrialSettings:
    """What is the same for every room of a drive."""

    name: str
    """Of the driver, for the outcomes."""
    frame: FrameSpec = field(default_factory=FrameSpec)
    """Size of the pictures that the driver is shown; of another aspect than the camera's it is shown 1280x720."""
    shift: Shift = NO_SHIFT
    max_presses: int = MAX_PRESSES
    """A trial ends when the cup is reached, when something is touched, or after so many."""
    motion: Motion = field(default_factory=Motion)
    """What a press does."""


def trial_rooms(trials: int, *, seed: int = 0) -> tuple[Room, ...]:
    """The scenarios in turn, each in a new room: the same for every policy.

    Raises:
        ConfigurationError: fewer than one trial, or a seed below 0.
    """
    if trials < 1 or seed < 0:
        raise ConfigurationError(f"expected at least 1 trial and a seed of at least 0, got {trials} and {seed}")
    first = _FIRST_TRIAL_SEED + seed * 10_000
    return tuple((SCENARIOS[index % len(SCENARIOS)], first + index) for index in range(trials))


def drive_trials(
    policy: Policy | PolicyBatch,
    *,
    name: str,
    rooms: Sequence[Room],
    shift: Shift | None = None,
    max_presses: int = MAX_PRESSES,
    frame: FrameSpec | None = None,
    motion: Motion | None = None,
    progress: Callable[[TrialOutcome], None] | None = None,
) -> list[TrialOutcome]:
    """Drive every room once, in this process, with a policy that is there already; many at a time with one that can.

    Paired: equal rooms, equal wheel slip, whatever drives. Whatever the policy raises ends the trials.

    Returns:
        An outcome a room, in the rooms' order.
    """
    settings = TrialSettings(name, frame or FrameSpec(), shift or NO_SHIFT, max_presses, motion or Motion())
    outcomes = []
    for outcome in drive_by_sight(policy, rooms, settings):
        outcomes.append(outcome)
        if progress:
            progress(outcome)
    return outcomes


class Trial:
    """One room while it is driven: what the driver is shown next, and what comes of its answer."""

    def __init__(self, room: Room, settings: TrialSettings) -> None:
        self.settings, shift = settings, settings.shift
        self.scenario = shift.change(sample_scenario(*room))
        self.instruction = shift.instruction(self.scenario.name)
        self._body = Body(self.scenario, motion=shift.motion(settings.motion))
        self._waiting = deque([KEYS["space"]] * shift.latency)
        self._unseen: list[Action] = []  # executed since the frame that is shown was taken
        self._drops = np.random.default_rng([self.scenario.seed, 103])
        self._path: list[Pose] = []
        self.shown = self._body.pose
        """Where the frame that the driver is shown was taken."""

    @property
    def over(self) -> bool:
        outcome = self._body.outcome
        return outcome.reached or outcome.collided or outcome.steps >= self.settings.max_presses

    @property
    def expected(self) -> Pose:
        """Where the robot will be when the answer to the shown frame is executed, as far as that can be known."""
        return reduce(self.settings.motion.after, [*self._unseen, *self._waiting], self.shown)

    def press(self, action: Action) -> None:
        """Take the driver's answer, execute the one that is due, and show the next frame."""
        self._waiting.append(action)
        due = self._waiting.popleft()
        self._body.press(due)
        self._path.append(self._body.pose)
        self._unseen.append(due)
        if self._drops.random() >= self.settings.shift.dropped:
            self.shown = self._body.pose
            self._unseen.clear()

    def outcome(self) -> TrialOutcome:
        """So far."""
        outcome, shortest = self._body.outcome, shortest_path(self.scenario)
        return TrialOutcome(
            policy=self.settings.name,
            scenario=self.scenario.name,
            seed=self.scenario.seed,
            success=outcome.success,
            reached=outcome.reached,
            right_side=outcome.right_side,
            collided=outcome.collided,
            spl=shortest / max(shortest, outcome.length_m) if outcome.success else 0.0,
            steps=outcome.steps,
            duration_s=outcome.steps * self.settings.motion.seconds_per_press,
            distance_m=outcome.length_m,
            path=tuple(self._path),
            shift=self.settings.shift.name,
        )


def drive_by_sight(
    policy: Policy | PolicyBatch, rooms: Sequence[Room], settings: TrialSettings
) -> Iterator[TrialOutcome]:
    """Outcomes in the rooms' order, as they come."""
    drivers = policy if isinstance(policy, PolicyBatch) else _Single(policy)
    for first in range(0, len(rooms), drivers.batch):
        abreast = rooms[first : first + drivers.batch]
        yield from _drive_abreast(drivers, [Trial(room, settings) for room in abreast])


def drive_by_map(driver: Reference | Recital, room: Room, settings: TrialSettings) -> TrialOutcome:
    """A driver that needs no camera: the expert who knows the room, straight ahead, or by heart."""
    trial = Trial(room, settings)
    expert = Expert(trial.scenario, motion=settings.motion)
    step = 0
    while not trial.over:
        if isinstance(driver, Recital):
            trial.press(driver.press(trial.scenario.name, step))
        else:
            trial.press(expert.press(trial.expected) if driver == "expert" else KEYS["W"])
        step += 1
    return trial.outcome()


def _drive_abreast(drivers: PolicyBatch, trials: Sequence[Trial]) -> list[TrialOutcome]:
    """In step. A room that is over keeps its last picture until all are."""
    eyes = [Eye(trial) for trial in trials]
    pictures = [eye.look() for eye in eyes]
    drivers.reset([trial.instruction for trial in trials])
    drivers.act(pictures)  # frame 0 is seen, but the robot stands still
    while not all(trial.over for trial in trials):
        answers = drivers.act(pictures)
        for index, trial in enumerate(trials):
            if not trial.over:
                trial.press(answers[index])
            if not trial.over:
                pictures[index] = eyes[index].look()
    return [trial.outcome() for trial in trials]


class Eye:
    """What the driver of a trial is shown; what was just shown is not drawn again."""

    def __init__(self, trial: Trial) -> None:
        settings = trial.settings
        self._trial = trial
        self._camera = trial_camera(trial.scenario, settings.frame, mount=settings.shift.mount)
        self._pose, self._picture = trial.shown, self._camera.render(trial.shown)

    def look(self) -> Picture:
        """(h, w, 3) uint8 RGB."""
        if self._trial.shown != self._pose:
            self._pose = self._trial.shown
            self._picture = self._camera.render(self._pose)
        return self._picture


class _Single:
    """One at the wheel, as a batch of one."""

    batch = 1

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def reset(self, instructions: Sequence[str]) -> None:
        self._policy.reset(*instructions)

    def act(self, images: Sequence[Picture]) -> Action:
        return self._policy.act(*images)[None]


def trial_camera(scenario: Scenario, frame: FrameSpec, *, mount: Mount | None = None) -> Camera:
    """A camera of the policy's own frame size, whose pixels are means of rays as a resized 1280x720 frame's are of
    pixels: about 40 times as fast. Where the aspect differs, the 1280x720 camera."""
    if frame.width * CAMERA_HEIGHT != frame.height * CAMERA_WIDTH:
        return Camera(scenario, mount=mount)
    samples = max(1, round(_RAYS_ACROSS / frame.width))
    return Camera(scenario, width=frame.width, height=frame.height, samples=samples, mount=mount)
