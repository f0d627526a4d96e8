"""Does training on what `drover suggest` would choose beat a random choice? Written up in docs/active-learning.md.

    python -m tests.experiments.active_learning --out build/active-learning [--picture docs/images/active-learning.png]

Everything is simulated. Each repetition has rooms of its own (seeds of demonstrations, never those of trials): some to
begin with, a pool, and a few to validate on. An ensemble is trained on the first; episodes of the pool are chosen by
`suggest`'s own score and order, and as many at random; two ensembles are trained anew from both. All are measured on
the same held-out rooms. A run that is started again goes on where it was.
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from math import sqrt
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.contracts import AXES, FrameSpec, PolicySpec, TrainingSpec
from components.datasets import EpisodeFrames
from components.episodes import SCENARIOS, instruction_for, mirror_instruction, words
from components.evaluation._doubt import Doubter, take_turns
from components.policies import EnsembleModule, build_module, predict_with, recipes

FIRST_SEED = 900_000_000
"""Rooms of no fleet that is recorded elsewhere; trials' rooms begin at 10**9."""
HELD_OUT_SEED = FIRST_SEED + 50_000_000


@dataclass(frozen=True)
class Size:
    """How much of everything; episodes unless said."""

    repetitions: int = 10
    validation: int = 16
    held_out: int = 128
    epochs: int = 32
    members: int = 2
    frame: FrameSpec = field(default_factory=lambda: FrameSpec(width=48, height=27))


@dataclass(frozen=True)
class Setting:
    """How often the pool, and what training begins with, hold two boxes (the held-out rooms hold them half the time),
    and how many episodes there are."""

    name: str
    two_boxes: float
    begin: int = 24
    pool: int = 96
    chosen: int = 24

    @property
    def lot(self) -> int:
        """Part of the seeds: equal for settings that differ in numbers alone."""
        return int(self.two_boxes < 1 / 2)


SETTINGS = (
    Setting("even", 1 / 2),
    Setting("rare", 1 / 8),
)
ARMS = ("begin", "random", "suggested")


@dataclass(frozen=True)
class Result:
    """One repetition of one setting."""

    setting: str
    repetition: int
    mae: dict[str, float]
    """By arm: over all three axes, frame 0 left out."""
    key_accuracy: dict[str, float]
    two_boxes: dict[str, float]
    """Share of what the arm added to training; of the pool under `begin`."""
    seconds: float


def rooms_of(number: int, first_seed: int, two_boxes: float, *, seed: int) -> list[tuple[str, int]]:
    """(scenario, seed): one and two boxes in their shares exactly, the scenarios of each in turn."""
    kinds = [[name for name in SCENARIOS if name.startswith(box)] for box in ("1box", "2box")]
    two = round(number * two_boxes)
    names = [kinds[0][index % 4] for index in range(number - two)] + [kinds[1][index % 4] for index in range(two)]
    order = np.random.default_rng(seed).permutation(number)
    return [(names[place], first_seed + index) for index, place in enumerate(order)]


def record(rooms: Sequence[tuple[str, int]], frame: FrameSpec) -> list[EpisodeFrames]:
    """The expert's drives, four rooms a session as fleets record them."""
    from components.simulation import record_expert

    return [
        EpisodeFrames(
            sha256=f"{item.seed:064x}", name=f"{item.scenario}-{item.seed}", robot="robot-1", session=str(index // 4),
            scenario=item.scenario, instruction=item.instruction, frames=item.frames, actions=item.actions,
        )
        for index, item in enumerate(record_expert(rooms, frame=frame, workers=1))
    ]  # fmt: skip


def vocabulary() -> tuple[str, ...]:
    """Of every instruction there is, so that all arms read alike."""
    told = [instruction_for(name) for name in SCENARIOS]
    return tuple(sorted({word for text in told for word in [*words(text), *words(mirror_instruction(text))]}))


def train(
    training: Sequence[EpisodeFrames], validation: Sequence[EpisodeFrames], size: Size, *, seed: int
) -> EnsembleModule:
    """Members of one recipe each, with even weights."""
    from components.training._data import TrainingData, stack
    from components.training._loop import fit

    data = TrainingData(stack(training, vocabulary()), stack(validation, vocabulary()), vocabulary())
    members = []
    for index in range(size.members):
        recipe = (recipes.compact_lstm, recipes.compact_mlp, recipes.compact_lstm_wide)[index % 3]
        settings = TrainingSpec(epochs=size.epochs, patience=size.epochs, seed=seed * 10 + index)
        spec: PolicySpec = recipe(AXES, training=settings, frame=size.frame)
        member = build_module(spec, vocabulary())
        member.load_state_dict(fit(data, spec).weights)
        members.append(member)
    return EnsembleModule(members, [1 / size.members] * size.members)


def measure(ensemble: EnsembleModule, held_out: Sequence[EpisodeFrames]) -> tuple[float, float]:
    """MAE and key accuracy on all frames but frame 0."""
    did = np.concatenate([item.actions[1:] for item in predict_with(ensemble, held_out)])
    pressed = np.concatenate([item.actions[1:] for item in held_out])
    return float(np.abs(did - pressed).mean()), float(np.all(np.abs(did - pressed) < 1e-3, axis=1).mean())


def choose(ensemble: EnsembleModule, pool: Sequence[EpisodeFrames], number: int) -> list[int]:
    """As `suggest` does: by doubt, and of one session and scenario one episode before its next."""
    members = [(str(index), module) for index, module in enumerate(ensemble.members)]
    doubt = Doubter(members, ensemble.weights, AXES).ask(pool)
    return take_turns([item.mean for item in doubt], [(item.session, item.scenario) for item in pool])[:number]


def repeat(setting: Setting, repetition: int, size: Size, held_out: Sequence[EpisodeFrames]) -> Result:
    """One repetition: equal arguments give equal figures on one machine."""
    import torch

    torch.set_num_threads(1)
    began, seed = perf_counter(), repetition * 2 + setting.lot
    first = FIRST_SEED + 10_000 * seed
    parts = [
        record(rooms_of(number, first + 2_000 * place, share, seed=seed), size.frame)
        for place, (number, share) in enumerate(
            [(setting.begin, setting.two_boxes), (setting.pool, setting.two_boxes), (size.validation, 1 / 2)]
        )
    ]
    begin, pool, validation = parts
    ensembles = {"begin": train(begin, validation, size, seed=seed)}
    added = {
        "begin": list(range(len(pool))),
        "random": np.random.default_rng([seed, 5]).permutation(len(pool))[: setting.chosen].tolist(),
        "suggested": choose(ensembles["begin"], pool, setting.chosen),
    }
    for arm in ARMS[1:]:
        ensembles[arm] = train([*begin, *(pool[index] for index in added[arm])], validation, size, seed=seed)
    found = {arm: measure(ensembles[arm], held_out) for arm in ARMS}
    return Result(
        setting=setting.name,
        repetition=repetition,
        mae={arm: mae for arm, (mae, _) in found.items()},
        key_accuracy={arm: right for arm, (_, right) in found.items()},
        two_boxes={
            arm: float(np.mean([(pool[index].scenario or "").startswith("2box") for index in chosen]))
            for arm, chosen in added.items()
        },
        seconds=perf_counter() - began,
    )


def gains(results: Sequence[Result], of: str) -> NDArray[np.float64]:
    """(n,) how much better the suggested choice is than the random one, repetition by repetition."""
    sign = -1 if of == "mae" else 1
    return np.array([sign * (getattr(item, of)["suggested"] - getattr(item, of)["random"]) for item in results])


def paired(results: Sequence[Result], of: str) -> tuple[float, float, float, int]:
    """How much better the suggested choice is than the random one: mean, low, high (95 %, t over repetitions), n."""
    from scipy.special import stdtrit

    each = gains(results, of)
    mean, n = float(each.mean()), len(each)
    half = float(stdtrit(n - 1, 0.975)) * float(each.std(ddof=1)) / sqrt(n)
    return mean, mean - half, mean + half, n


def verdict(low: float, high: float) -> str:
    """By the interval of the gain."""
    return "beats" if low > 0 else "loses to" if high < 0 else "cannot be told from"


def run(size: Size, out: Path, *, settings: Sequence[Setting] = SETTINGS, workers: int = 2) -> list[Result]:
    """Every setting and repetition; `results.jsonl` in `out` keeps what is done."""
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "results.jsonl"
    lines = kept.read_text().splitlines() if kept.exists() else []
    results = [Result(**json.loads(line)) for line in lines]
    done = {(item.setting, item.repetition) for item in results}
    missing = [
        (setting, number)
        for number, setting in product(range(size.repetitions), settings)
        if (setting.name, number) not in done
    ]
    if missing:
        held_out = record(rooms_of(size.held_out, HELD_OUT_SEED, 1 / 2, seed=0), size.frame)
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool, kept.open("a") as file:
            futures = [pool.submit(repeat, setting, number, size, held_out) for setting, number in missing]
            for future in futures:
                results.append(future.result())
                file.write(json.dumps(asdict(results[-1])) + "\n")
                file.flush()
                print(f"{results[-1].setting} {results[-1].repetition}: {results[-1].mae}", flush=True)  # noqa: T201
    return results


def table(results: Sequence[Result]) -> list[dict[str, Any]]:
    """A row a setting and figure."""
    rows = []
    for name, of in product(dict.fromkeys(item.setting for item in results), ("mae", "key_accuracy")):
        mine = [item for item in results if item.setting == name]
        gain, low, high, n = paired(mine, of)
        means = {arm: float(np.mean([getattr(item, of)[arm] for item in mine])) for arm in ARMS}
        rows.append(
            {"setting": name, "figure": of, **means, "gain": gain, "low": low, "high": high, "n": n,
             "verdict": verdict(low, high)}
        )  # fmt: skip
    return rows


def draw(results: Sequence[Result], path: Path) -> None:
    """Each repetition's gain as a dot, the mean with its interval beside."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    names = list(dict.fromkeys(item.setting for item in results))
    titles = {"mae": "MAE: random minus suggested (m/s, rad/s)", "key_accuracy": "key accuracy: suggested minus random"}
    for panel, (of, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        panel.axhline(0, color="0.6", linewidth=1)
        for place, name in enumerate(names):
            mine = [item for item in results if item.setting == name]
            mean, low, high, n = paired(mine, of)
            panel.plot([place - 0.12] * n, gains(mine, of), "o", color="0.55", markersize=3.5)
            panel.errorbar(place + 0.1, mean, [[mean - low], [high - mean]], fmt="s", color="C0", capsize=4)
        panel.set_xticks(range(len(names)), [name.replace(", ", ",\n") for name in names])
        panel.set_xlim(-0.6, len(names) - 0.4)
        panel.set_title(title, fontsize=9)
        panel.tick_params(labelsize=8)
    figure.supxlabel("above 0: the suggested choice is better. Dots: repetitions. Bars: 95 % t. Simulated.", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--repetitions", type=int, default=Size().repetitions)
    parser.add_argument("--workers", type=int, default=2)
    said = parser.parse_args()
    results = run(replace(Size(), repetitions=said.repetitions), said.out, workers=said.workers)
    (said.out / "table.json").write_text(json.dumps(table(results), indent=1))
    for row in table(results):
        print(row)  # noqa: T201
    draw(results, said.picture or said.out / "active-learning.png")


if __name__ == "__main__":
    main()
