"""Frames with the operator's key and the policy's drawn in, and what in them mattered to the policy."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from components.contracts import ACTION_LIMIT
from components.datasets import EpisodeFrames
from components.episodes import key_of
from components.evaluation._truth import Actions

FRAMES = 10
Place = tuple[int, int]
"""Index of an episode of the split, and of a frame in it."""
_WIDTH = 320
_QUALITY = 80
_DARK = 0.18
_FAINTEST = 0.05  # a change of the answer that is lit fully at least: smaller ones are not blown up
_TRUE, _PREDICTED = (255, 255, 255), (255, 176, 59)


@dataclass(frozen=True)
class Picture:
    """One frame of the page."""

    image: str
    """WebP as a data URI."""
    mattered: str | None
    """The same frame, dark where it did not matter; None where that was not measured."""
    pressed: str
    predicted: str
    right: bool
    where: str
    most: float
    """By how much hiding a part changes the answer at most, 0 to 1; 0 where that was not measured."""


def label(action: NDArray[np.float32], *, keys: bool) -> str:
    """The key, or the three values where the actions are no key presses."""
    key = key_of(action) if keys else None
    return key if key is not None else " ".join(f"{value:+.2f}" for value in action)


def chosen_frames(episodes: Sequence[EpisodeFrames], *, seed: int) -> list[Place]:
    """Ten frames drawn at random, right or wrong, from all frames after frame 0; in the order of the split."""
    places = [(e, t) for e, item in enumerate(episodes) for t in range(1, len(item.frames))]
    rng = np.random.default_rng([seed, len(places)])
    return [places[index] for index in sorted(rng.choice(len(places), min(FRAMES, len(places)), replace=False))]


def draw_frames(
    episodes: Sequence[EpisodeFrames],
    predicted: Sequence[Actions],
    saliency: Mapping[Place, NDArray[np.floating]],
    *,
    keys: bool,
    within: float,
    seed: int,
) -> list[Picture]:
    """The chosen frames.

    Args:
        saliency: (rows, columns) of a chosen frame: by how much the answer changes when a part is hidden, 0 to 1.
        keys: actions are key presses.
        within: a continuous action is right when no axis is farther off.
        seed: of the choice.
    """
    pictures = []
    for place in chosen_frames(episodes, seed=seed):
        episode, step = place
        item = episodes[episode]
        true, guess = item.actions[step], predicted[episode][step]
        pressed, told = label(true, keys=keys), label(guess, keys=keys)
        pictures.append(
            Picture(
                image=_draw(item.frames[step], [(true, _TRUE, pressed), (guess, _PREDICTED, told)]),
                mattered=_spotlight(item.frames[step], saliency[place]) if place in saliency else None,
                pressed=pressed,
                predicted=told,
                right=bool(pressed == told if keys else np.abs(true - guess).max() <= within),
                where=f"{item.scenario or item.name}, step {step}",
                most=float(saliency[place].max()) if place in saliency else 0.0,
            )
        )
    return pictures


def _enlarged(frame: NDArray[np.uint8]) -> Image.Image:
    height, width = frame.shape[:2]
    return Image.fromarray(frame).resize((_WIDTH, round(_WIDTH * height / width)), Image.Resampling.NEAREST)


def _draw(frame: NDArray[np.uint8], marks: Sequence[tuple[NDArray[np.float32], tuple[int, int, int], str]]) -> str:
    image = _enlarged(frame)
    canvas = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=28)
    for index, (action, colour, text) in enumerate(marks):
        middle = (_WIDTH * (0.3 + 0.4 * index), image.height * 0.58)
        _arrow(canvas, middle, action, colour)
        canvas.text(
            (middle[0], image.height - 4), text, font=font, fill=colour, anchor="mb", stroke_width=3, stroke_fill=0
        )
    return _webp(image)


def _spotlight(frame: NDArray[np.uint8], saliency: NDArray[np.floating]) -> str:
    """Full light where it mattered most. A frame in which nothing mattered is dark all over."""
    image = _enlarged(frame)
    share = np.clip(saliency / max(float(saliency.max()), _FAINTEST), 0, 1)
    light = Image.fromarray(np.asarray(255 * (_DARK + (1 - _DARK) * share), np.uint8))
    smooth = np.asarray(light.resize(image.size, Image.Resampling.BICUBIC), np.float32) / 255
    return _webp(Image.fromarray(np.asarray(np.asarray(image) * smooth[..., None], np.uint8)))


def _webp(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _arrow(
    canvas: ImageDraw.ImageDraw, middle: tuple[float, float], action: NDArray[np.float32], colour: tuple[int, int, int]
) -> None:
    """Up is forward, left is left; a turn is an arc that opens to its side; standing still is a dot."""
    x, y = middle
    forward, left, turn = (float(value) / ACTION_LIMIT for value in action)
    reach = 38.0
    tip = np.array([x - reach * left, y - reach * forward])
    if abs(turn) > 0.02:
        begin, end = (270 - 120 * turn, 270.0) if turn > 0 else (270.0, 270 - 120 * turn)
        canvas.arc((x - 26, y - 26, x + 26, y + 26), begin, end, fill=colour, width=6)
    if np.hypot(forward, left) < 0.02:
        canvas.ellipse((x - 8, y - 8, x + 8, y + 8), fill=colour, outline=(0, 0, 0))
        return
    canvas.line((x, y, *tip), fill=(0, 0, 0), width=10)
    canvas.line((x, y, *tip), fill=colour, width=6)
    along = np.array([tip[0] - x, tip[1] - y])
    along /= np.hypot(*along)
    across = np.array([-along[1], along[0]])
    corners = [tip + 14 * along, tip + 11 * across - 5 * along, tip - 11 * across - 5 * along]
    canvas.polygon([(float(a), float(b)) for a, b in corners], fill=colour, outline=(0, 0, 0))
