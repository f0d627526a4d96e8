"""Drives as short animations: the room from above, and beside it what the camera sees. Simulated, and marked so."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from components.contracts import UNSHIFTED, FrameSpec, TrialOutcome
from components.simulation import ROBOT_RADIUS, Scenario, replay, sample_scenario, shift_named

from ._plots import COLOURS, FAINT, INK, SIMULATED
from ._rooms import SHOWN, told

FILMS = 4
_VIEW = (320, 180)
_MAP = (237, 180)
_STEP_MS, _HOLD_MS = 220, 1600
_QUALITY = 55
_FINE = 3  # the map is drawn so many times as large, and shrunk: Pillow's lines have hard edges
Pose = tuple[float, float, float]


@dataclass(frozen=True)
class Film:
    """One drive of the page."""

    moving: str
    """Animated WebP as a data URI."""
    still: str
    """Its last picture, for those who want nothing to move."""
    caption: str
    alt: str


def failures(outcomes: Sequence[TrialOutcome], subject: str) -> list[TrialOutcome]:
    """The subject's first failure of each kind in unshifted rooms, then its next ones, then its first failure of each
    shift: a handful, by rule and not by choice."""
    lost = [item for item in outcomes if item.policy == subject and not item.success]
    plain = [item for item in lost if item.shift == UNSHIFTED]
    firsts = list({told(item): item for item in reversed(plain)}.values())
    shifted = list({item.shift: item for item in reversed(lost) if item.shift != UNSHIFTED}.values())
    ordered = sorted(firsts, key=plain.index) + [item for item in plain if item not in firsts]
    return [*ordered[: FILMS - 1], *sorted(shifted, key=lost.index), *ordered[FILMS - 1 :]][:FILMS]


def _room(outcome: TrialOutcome) -> Scenario:
    """As it was driven, changed as the shift says."""
    return shift_named(outcome.shift).change(sample_scenario(*outcome.room))


def film(outcome: TrialOutcome) -> Film:
    """One drive, step by step."""
    scenario = _room(outcome)
    poses = [scenario.start, *outcome.path]
    pictures = [
        _picture(_map(scenario, poses[: step + 1]), view, f"step {step} of {outcome.steps}")
        for step, view in enumerate(replay(outcome, FrameSpec(width=_VIEW[0], height=_VIEW[1])))
    ]
    shift = "" if outcome.shift == UNSHIFTED else f", shift {outcome.shift}"
    ending = told(outcome)
    return Film(
        moving=_webp(pictures),
        still=_webp(pictures[-1:]),
        caption=f"{outcome.scenario}, seed {outcome.seed}{shift}: {ending} after {outcome.steps} steps",
        alt=f"Left the room from above with the robot's way, right its camera: {outcome.policy} {ending}.",
    )


def _picture(top: Image.Image, view: NDArray[np.uint8], text: str) -> Image.Image:
    picture = Image.new("RGB", (_MAP[0] + _VIEW[0] + 6, _VIEW[1]), "white")
    picture.paste(top, (0, 0))
    picture.paste(Image.fromarray(view), (_MAP[0] + 6, 0))
    canvas = ImageDraw.Draw(picture)
    canvas.text((5, 3), text, font=ImageFont.load_default(size=11), fill=INK)
    canvas.text((_MAP[0] - 5, 176), "simulated", font=ImageFont.load_default(size=11), fill=SIMULATED, anchor="rb")
    return picture


def _map(scenario: Scenario, poses: Sequence[Pose]) -> Image.Image:
    left, right, _, top = SHOWN
    scale = _FINE * _MAP[0] / (right - left)

    def at(x: float, y: float) -> tuple[float, float]:
        return (x - left) * scale, (top - y) * scale

    image = Image.new("RGB", (_FINE * _MAP[0], _FINE * _MAP[1]), "white")
    canvas = ImageDraw.Draw(image)
    canvas.rectangle((0, 0, image.width - 1, image.height - 1), outline=FAINT, width=_FINE)
    for box in scenario.boxes:
        cosine, sine = math.cos(box.yaw), math.sin(box.yaw)
        corners = [(i * box.half_x, j * box.half_y) for i, j in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
        turned = [at(box.x + x * cosine - y * sine, box.y + x * sine + y * cosine) for x, y in corners]
        canvas.polygon(turned, fill="#e3cba6", outline="#9c7a48", width=_FINE)
    canvas.circle(at(*scenario.cup), 0.085 * scale, fill=INK)
    blue = COLOURS["subject"]
    canvas.line([at(x, y) for x, y, _ in poses], fill=blue, width=2 * _FINE, joint="curve")
    x, y, yaw = poses[-1]
    canvas.circle(at(x, y), ROBOT_RADIUS * scale, outline=blue, width=2 * _FINE)
    nose = (x + 1.5 * ROBOT_RADIUS * math.cos(yaw), y + 1.5 * ROBOT_RADIUS * math.sin(yaw))
    canvas.line([at(x, y), at(*nose)], fill=blue, width=2 * _FINE)
    return image.resize(_MAP, Image.Resampling.LANCZOS)


def _webp(pictures: Sequence[Image.Image]) -> str:
    buffer = io.BytesIO()
    if len(pictures) > 1:
        times = [_STEP_MS] * (len(pictures) - 1) + [_HOLD_MS]
        pictures[0].save(buffer, "WEBP", save_all=True, append_images=list(pictures[1:]), duration=times, loop=0,
                         quality=_QUALITY, method=4)  # fmt: skip
    else:
        pictures[0].save(buffer, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
