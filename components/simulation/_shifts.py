"""Distribution shifts: named changes of room, robot or instruction that no demonstration was recorded under.

A shift changes what it says and nothing else: the same seeds give the same rooms, the same cup and the same draws of
the wheels' slip, so that a drive with it and one without are a pair.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from components.contracts import UNSHIFTED
from components.contracts.errors import ConfigurationError
from components.episodes import instruction_for, paraphrase

from ._body import Motion
from ._camera import Mount
from ._scenario import Box, Rgb, Scenario
from ._textures import UNSEEN

Family = Literal[
    "light", "textures", "box colours", "camera", "motor slip", "latency", "dropped frames", "instruction", "box sizes"
]

_USUAL_MOUNT = Mount()


def _same(scenario: Scenario) -> Scenario:
    return scenario


@dataclass(frozen=True)
class Shift:
    """One change, and everything that it changes."""

    name: str
    family: Family | None
    what: str
    """In words, with the numbers."""
    change: Callable[[Scenario], Scenario] = _same
    """What becomes of the room; picklable."""
    mount: Mount = _USUAL_MOUNT
    """Where the camera sits."""
    slip: float = 1.0
    """Times the wheels' usual slip."""
    latency: int = 0
    """Presses between a frame and the answer to it; so long the robot stands still first."""
    dropped: float = 0.0
    """Probability that a frame does not arrive, and the one before it is seen again. Frame 0 always arrives."""
    wording: int | Literal["usual", "reordered"] = "usual"
    """Of the instruction: a number is one of `episodes.paraphrase`'s."""

    def instruction(self, scenario: str) -> str:
        """What the driver is told."""
        told = instruction_for(scenario)
        if self.wording == "usual":
            return told
        if self.wording == "reordered":
            way, goal = told.split(" to reach ")
            obstacle, side = way.removeprefix("Navigate around ").split(" by ")
            return f"To reach {goal}, navigate by {side} around {obstacle}"
        said = paraphrase(told, wording=self.wording)
        assert said is not None  # it rewords whatever `instruction_for` says
        return said

    def motion(self, usual: Motion) -> Motion:
        """What a press does."""
        return replace(usual, slip=usual.slip * self.slip)


NO_SHIFT = Shift(UNSHIFTED, None, "rooms, robot and instruction as demonstrations were recorded with")


def shift_named(name: str) -> Shift:
    """The shift of that name, e.g. of a TrialOutcome's; `none` changes nothing.

    Raises:
        ConfigurationError: there is no such shift.
    """
    found = {shift.name: shift for shift in (NO_SHIFT, *SHIFTS)}
    if name not in found:
        raise ConfigurationError(f"expected a shift of {', '.join(found)}, got {name!r}")
    return found[name]


def _light(scenario: Scenario, *, gain: float = 1.0, ambient: float = 1.0) -> Scenario:
    look = scenario.look
    return replace(scenario, look=replace(look, light_gain=look.light_gain * gain, ambient=look.ambient * ambient))


def _look(scenario: Scenario, **fields: Any) -> Scenario:
    return replace(scenario, look=replace(scenario.look, **fields))


def _low_sun(scenario: Scenario, *, light_y: float) -> Scenario:
    """From the side that it came from."""
    return _look(scenario, light_x=0.0, light_y=light_y if scenario.look.light_y > 0 else -light_y)


def _unseen_floor(scenario: Scenario) -> Scenario:
    return _look(scenario, floor=scenario.look.floor + UNSEEN)


def _unseen_walls(scenario: Scenario) -> Scenario:
    return _look(scenario, wall=scenario.look.wall + UNSEEN)


def _boxes(scenario: Scenario, change: Callable[[Box, int], Box]) -> Scenario:
    return replace(scenario, boxes=tuple(change(box, index) for index, box in enumerate(scenario.boxes)))


_VIVID: tuple[Rgb, ...] = ((1.0, 0.0, 0.8), (0.0, 0.95, 0.95), (0.6, 1.0, 0.0))


def _painted(scenario: Scenario, *, colours: tuple[Rgb, ...]) -> Scenario:
    first = scenario.seed
    return _boxes(scenario, lambda box, index: replace(box, rgb=colours[(first + index) % len(colours)]))


def _scaled(scenario: Scenario, *, factor: float) -> Scenario:
    """About each box's own middle; they keep standing on the floor."""
    return _boxes(
        scenario,
        lambda box, _: replace(box, half_x=box.half_x * factor, half_y=box.half_y * factor, half_z=box.half_z * factor),
    )


SHIFTS: tuple[Shift, ...] = (
    Shift("light-dim", "light", "sun at 0.45, ambient light at 0.5 of the usual",
          partial(_light, gain=0.45, ambient=0.5)),
    Shift("light-bright", "light", "sun at 1.6, ambient light at 1.5 times the usual: bright surfaces burn out",
          partial(_light, gain=1.6, ambient=1.5)),
    Shift("light-low-sun", "light", "sun from the side, 55 degrees off the vertical (usual: at most 31): long shadows",
          partial(_low_sun, light_y=4.1)),
    Shift("light-warm", "light", "sunlight orange: red +0.26, blue -0.26 (usual: within 0.06)",
          partial(_look, warmth=0.26)),
    Shift("floor-unseen", "textures", "floor checked in two strong colours, 0.25 m a square", _unseen_floor),
    Shift("walls-unseen", "textures", "walls with dark spots, 0.25 m apart", _unseen_walls),
    Shift("boxes-vivid", "box colours", "boxes magenta, cyan or lime (usual: cardboard, or each of RGB in 0.15..0.85)",
          partial(_painted, colours=_VIVID)),
    Shift("boxes-black", "box colours", "boxes nearly black: RGB 0.03", partial(_painted, colours=((0.03,) * 3,))),
    Shift("camera-lower", "camera", "camera at 0.40 m above the floor (usual: 0.50)", mount=Mount(above=0.40)),
    Shift("camera-higher", "camera", "camera at 0.62 m above the floor (usual: 0.50)", mount=Mount(above=0.62)),
    Shift("camera-up", "camera", "camera tilted 0.12 rad downwards (usual: 0.20)", mount=Mount(pitch=0.12)),
    Shift("camera-down", "camera", "camera tilted 0.28 rad downwards (usual: 0.20)", mount=Mount(pitch=0.28)),
    Shift("slip-2x", "motor slip", "wheels slip twice as much: 10 % of a press, one standard deviation", slip=2.0),
    Shift("slip-4x", "motor slip", "wheels slip four times as much: 20 % of a press, one standard deviation", slip=4.0),
    Shift("latency-1", "latency", "each press answers the frame before the last: 1 press late", latency=1),
    Shift("latency-2", "latency", "each press comes 2 presses late", latency=2),
    Shift("latency-3", "latency", "each press comes 3 presses late", latency=3),
    Shift("drops-10", "dropped frames", "10 % of the frames do not arrive: the one before is seen again", dropped=0.1),
    Shift("drops-30", "dropped frames", "30 % of the frames do not arrive: the one before is seen again", dropped=0.3),
    Shift("words-reordered", "instruction", "the same words in another order", wording="reordered"),
    Shift("words-go", "instruction", '"Go left of the one box and drive on to the cup"', wording=0),
    Shift("words-crate", "instruction", '"Keep to the left while you pass one crate, then head for the mug"',
          wording=1),
    Shift("words-goal", "instruction", '"Your goal is the cup: bypass one lone box on the left"', wording=5),
    Shift("boxes-smaller", "box sizes", "boxes at 0.65 of their length, width and height",
          partial(_scaled, factor=0.65)),
    Shift("boxes-larger", "box sizes", "boxes at 1.25 times their length, width and height",
          partial(_scaled, factor=1.25)),
)  # fmt: skip
"""Every suite. What a policy can know is never taken away: the side is told, the boxes and the cup can be seen."""
