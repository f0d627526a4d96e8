"""Closed loop: a policy drives seeded rooms that no demonstration was recorded in, and its success is counted."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from components.contracts import FrameSpec, Policy, TrialOutcome
from components.contracts.errors import ConfigurationError
from components.episodes import KEYS, SCENARIOS, instruction_for

from ._body import Body, Motion
from ._camera import CAMERA_HEIGHT, CAMERA_WIDTH, Camera, warm_up
from ._expert import Expert, shortest_path
from ._scenario import Scenario, sample_scenario

Reference = Literal["expert", "straight-ahead"]
Room = tuple[str, int]
"""Scenario and seed: `sample_scenario(*room)`."""

MAX_PRESSES = 24
_FIRST_TRIAL_SEED = 10**9  # demonstrations' seeds are below: see _fleet.py
_RAYS_ACROSS = 320


def trial_rooms(trials: int, *, seed: int = 0) -> tuple[Room, ...]:
    """The scenarios in turn, each in a new room: the same for every policy.

    Raises:
        ConfigurationError: fewer than one trial, or a seed below 0.
    """
    if trials < 1 or seed < 0:
        raise ConfigurationError(f"expected at least 1 trial and a seed of at least 0, got {trials} and {seed}")
    first = _FIRST_TRIAL_SEED + seed * 10_000
    return tuple((SCENARIOS[index % len(SCENARIOS)], first + index) for index in range(trials))


def run_trials(
    make_policy: Callable[[], Policy] | Reference,
    *,
    name: str,
    rooms: Sequence[Room] | None = None,
    trials: int = 40,
    seed: int = 0,
    workers: int = 2,
    max_presses: int = MAX_PRESSES,
    frame: FrameSpec | None = None,
    motion: Motion | None = None,
    progress: Callable[[TrialOutcome], None] | None = None,
) -> list[TrialOutcome]:
    """Drive every room once. Paired: equal rooms, equal wheel slip, whatever drives.

    Args:
        make_policy: called once in each process; picklable, e.g. `functools.partial(components.policies.driver, ...)`.
            Or a reference: `expert` drives by the map, `straight-ahead` presses W.
        name: of the policy, for the outcomes.
        rooms: None takes `trial_rooms(trials, seed=seed)`.
        workers: processes; 1 drives in this one. References always do: they need no camera.
        max_presses: a trial ends when the cup is reached, when something is touched, or after so many.
        frame: size of the pictures that the policy is shown; one of another aspect than the camera's is shown 1280x720.
        motion: what a press does.
        progress: told of each outcome, in the order of their ends.

    Returns:
        An outcome a room, in the rooms' order.

    Raises:
        ConfigurationError: no rooms, no worker, or no press.
    """
    rooms = trial_rooms(trials, seed=seed) if rooms is None else tuple(rooms)
    if not rooms or workers < 1 or max_presses < 1:
        raise ConfigurationError(f"expected rooms, workers and presses, got {len(rooms)}, {workers} and {max_presses}")
    settings = _TrialSettings(name, max_presses, frame or FrameSpec(), motion or Motion())
    told = progress or (lambda outcome: None)
    workers = min(workers, len(rooms))
    if isinstance(make_policy, str):
        return _told([_drive_reference(make_policy, room, settings) for room in rooms], told)
    if workers == 1:
        return drive_trials(make_policy(), name=name, rooms=rooms, max_presses=max_presses, frame=settings.frame,
                            motion=settings.motion, progress=told)  # fmt: skip
    warm_up()  # so that the processes find the compiled camera
    with (
        _single_threaded(),
        ProcessPoolExecutor(workers, get_context("spawn"), _make_held, (make_policy,)) as pool,
    ):
        futures = [pool.submit(_drive_held, room, settings) for room in rooms]
        try:
            for future in as_completed(futures):
                told(future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [future.result() for future in futures]


def drive_trials(
    policy: Policy,
    *,
    name: str,
    rooms: Sequence[Room],
    max_presses: int = MAX_PRESSES,
    frame: FrameSpec | None = None,
    motion: Motion | None = None,
    progress: Callable[[TrialOutcome], None] | None = None,
) -> list[TrialOutcome]:
    """The same in this process, with a policy that is there already. Whatever the policy raises ends the trials."""
    settings = _TrialSettings(name, max_presses, frame or FrameSpec(), motion or Motion())
    return _told((_drive_policy(policy, room, settings) for room in rooms), progress or (lambda outcome: None))


@dataclass(frozen=True)
class _TrialSettings:
    name: str
    max_presses: int
    frame: FrameSpec
    motion: Motion


def _told(outcomes: Iterable[TrialOutcome], progress: Callable[[TrialOutcome], None]) -> list[TrialOutcome]:
    kept = []
    for outcome in outcomes:
        kept.append(outcome)
        progress(outcome)
    return kept


_held: list[Policy] = []  # a worker process's policy: made once, not once a room


def _make_held(make_policy: Callable[[], Policy]) -> None:
    _held[:] = [make_policy()]


def _drive_held(room: Room, settings: _TrialSettings) -> TrialOutcome:
    return _drive_policy(_held[0], room, settings)


def _drive_policy(policy: Policy, room: Room, settings: _TrialSettings) -> TrialOutcome:
    scenario = sample_scenario(*room)
    camera = trial_camera(scenario, settings.frame)
    policy.reset(instruction_for(scenario.name))
    policy.act(camera.render(scenario.start))  # frame 0: seen, but the robot stands still
    return _drive(scenario, lambda pose: policy.act(camera.render(pose)), settings)


def _drive_reference(reference: Reference, room: Room, settings: _TrialSettings) -> TrialOutcome:
    scenario = sample_scenario(*room)
    if reference == "straight-ahead":
        return _drive(scenario, lambda pose: KEYS["W"], settings)
    return _drive(scenario, Expert(scenario, motion=settings.motion).press, settings)


def _drive(
    scenario: Scenario, press: Callable[[tuple[float, float, float]], NDArray[np.float32]], settings: _TrialSettings
) -> TrialOutcome:
    body = Body(scenario, motion=settings.motion)
    while (outcome := body.outcome).steps < settings.max_presses and not (outcome.reached or outcome.collided):
        body.press(press(body.pose))
    shortest = shortest_path(scenario)
    return TrialOutcome(
        policy=settings.name,
        scenario=scenario.name,
        seed=scenario.seed,
        success=outcome.success,
        reached=outcome.reached,
        right_side=outcome.right_side,
        collided=outcome.collided,
        spl=shortest / max(shortest, outcome.length_m) if outcome.success else 0.0,
        steps=outcome.steps,
        duration_s=outcome.steps * settings.motion.seconds_per_press,
        path=tuple(body.path[1:]),
    )


def trial_camera(scenario: Scenario, frame: FrameSpec) -> Camera:
    """A camera of the policy's own frame size, whose pixels are means of rays as a resized 1280x720 frame's are of
    pixels: about 40 times as fast. Where the aspect differs, the 1280x720 camera."""
    if frame.width * CAMERA_HEIGHT != frame.height * CAMERA_WIDTH:
        return Camera(scenario)
    samples = max(1, round(_RAYS_ACROSS / frame.width))
    return Camera(scenario, width=frame.width, height=frame.height, samples=samples)


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Processes started here run their numerical libraries on one thread each; they are as many as the cores."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
