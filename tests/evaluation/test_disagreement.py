"""Members that are apart: by how much, whether it tells errors, and whether it tells what is new."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from components.contracts import (
    ACTION_LIMIT,
    Ensemble,
    FrameSample,
    FrameSpec,
    Lineage,
    ObjectRef,
    PolicySpec,
    TrainedPolicy,
)
from components.contracts.errors import EvidenceError
from components.episodes import KEYS
from components.evaluation._clustered import auroc, rate_of_frames
from components.evaluation._disagreement import detect_novelty, disagree, tell_apart, uncertainty
from components.evaluation._truth import Truth
from components.policies import Predictions, build_module, recipes, save_weights
from components.simulation import SHIFTS
from components.storage import FolderStore

SHA = "a" * 64
AXES2 = ("linear_x", "linear_y")
SAMPLE = FrameSample(dataset=SHA, simulated=False, axes=AXES2)
LINEAGE = Lineage(code_revision="c0ffee", python="3.11.9", packages={}, machine="Linux")
REF = ObjectRef(uri="s3://models/x", sha256=SHA, size=1)


def member(name):
    spec = PolicySpec(recipe="compact_mlp", axes=AXES2)
    return TrainedPolicy(
        name=name, spec=spec, vocabulary=(), weights=REF, dataset=SHA, curve=(), best_epoch=0, lineage=LINEAGE
    )


def ensemble(*weights):
    members = tuple(member(f"m{index}") for index in range(len(weights)))
    return Ensemble(members=members, weights=weights, dataset=SHA, validation_loss=0.1, validation_loss_held_out=0.1)


def told(actions, certainty):
    """A policy that gives `certainty` (T,) to the classes of `actions`."""
    sure = np.broadcast_to(certainty, len(actions))[:, None, None] * np.ones((1, 3, 1))
    scores = np.empty((len(actions), 3, 3), dtype=np.float32)
    scores[:] = (1 - sure) / 2
    np.put_along_axis(scores, (np.rint(actions / ACTION_LIMIT).astype(int) + 1)[..., None], sure, axis=-1)
    return Predictions(SHA, np.asarray(actions, dtype=np.float32), scores)


def valued(values):
    return Predictions(SHA, np.asarray(values, dtype=np.float32), np.asarray(values, dtype=np.float32))


def keys(*names):
    return np.stack([KEYS[name] for name in names])


@dataclass
class Case:
    """Members that agree on the frames that are right, and are torn on those that are wrong, `blur` of the time not."""

    episodes: int = 12
    blur: float = 0.0
    seed: int = 0

    def build(self):
        rng = np.random.default_rng(self.seed)
        pressed = [keys("space", *rng.choice(["W", "S"], 17)) for _ in range(self.episodes)]
        did, first, second = [], [], []
        for actions in pressed:
            wrong = rng.random(18) < 0.3
            said = actions.copy()
            said[wrong] *= -1
            torn = np.where(rng.random(18) < self.blur, rng.random(18) < 0.5, wrong)
            other = said.copy()
            other[torn] = KEYS["space"]
            did.append(valued(said))
            first.append(told(said, 0.9))
            second.append(told(other, 0.9))
        truth = Truth(tuple(pressed), (None,) * self.episodes, AXES2, keys=True)
        return truth, {"ensemble": did, "m0": first, "m1": second}


def test_members_that_say_the_same_do_not_disagree_however_unsure_they_are() -> None:
    both = told(keys("W", "Q"), 0.4)

    found = uncertainty([both, both], (0.5, 0.5), AXES2)

    assert found.disagreement == pytest.approx([0, 0], abs=1e-9)
    assert (found.entropy > 1).all()


def test_members_that_are_sure_of_different_keys_disagree_by_the_entropy_of_their_weights() -> None:
    found = uncertainty([told(keys("W"), 1.0), told(keys("A"), 1.0)], (0.25, 0.75), AXES2)

    expected = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert found.disagreement == pytest.approx([expected])
    assert found.entropy == pytest.approx([expected])


def test_continuous_members_disagree_by_their_weighted_spread() -> None:
    found = uncertainty([valued([[0.4, 0.0, 9.0]]), valued([[0.0, 0.0, -9.0]])], (0.5, 0.5), AXES2)

    assert found.disagreement == pytest.approx([(0.2 + 0.0) / 2])
    assert np.isnan(found.entropy).all()


def test_disagreement_that_marks_every_error_ranks_them_perfectly_and_its_curve_falls() -> None:
    truth, predictions = Case().build()

    found = disagree(truth, SAMPLE, ensemble(0.5, 0.5), predictions, seed=0)

    assert found is not None
    assert found.error_auroc is not None
    assert found.error_auroc.value == 1.0
    assert [item.coverage for item in found.risk] == pytest.approx([step / 10 for step in range(1, 11)])
    curve = [item.key_accuracy.value for item in found.risk]
    assert curve[:6] == [1.0] * 6
    assert curve[-1] == pytest.approx(np.mean([(a == b.actions).all(axis=1)[1:].mean() for a, b in
                                               zip(truth.episodes, predictions["ensemble"], strict=True)]))  # fmt: skip
    assert found.risk[0].key_accuracy.low < 1  # right on every frame, and yet not known to be


def test_disagreement_that_has_nothing_to_do_with_errors_is_chance_and_its_interval_holds_it() -> None:
    truth, predictions = Case(episodes=40, blur=1.0).build()

    found = disagree(truth, SAMPLE, ensemble(0.5, 0.5), predictions, seed=0)

    assert found is not None
    assert found.error_auroc is not None
    assert found.error_auroc.low < 0.5 < found.error_auroc.high
    assert found.error_auroc.n == 40
    curve = [item.key_accuracy for item in found.risk]
    assert curve[0].low < curve[-1].value < curve[0].high


def test_an_ensemble_that_never_errs_has_no_auroc() -> None:
    truth, predictions = Case().build()
    predictions["ensemble"] = [valued(actions) for actions in truth.episodes]

    found = disagree(truth, SAMPLE, ensemble(0.5, 0.5), predictions, seed=0)

    assert found is not None
    assert found.error_auroc is None


def test_frame_zero_is_no_error() -> None:
    truth, predictions = Case().build()
    did = [actions.copy() for actions in truth.episodes]
    for actions in did:
        actions[0] = KEYS["S"]
    predictions["ensemble"] = [valued(actions) for actions in did]

    found = disagree(truth, SAMPLE, ensemble(0.5, 0.5), predictions, seed=0)

    assert found is not None
    assert found.error_auroc is None


def test_one_member_disagrees_with_nobody() -> None:
    truth, predictions = Case().build()

    assert disagree(truth, SAMPLE, ensemble(1.0), predictions, seed=0) is None


def test_a_member_without_predictions_is_refused_by_name() -> None:
    truth, predictions = Case().build()
    del predictions["m1"]

    with pytest.raises(EvidenceError, match="without: m1"):
        disagree(truth, SAMPLE, ensemble(0.5, 0.5), predictions, seed=0)


def test_disagreement_that_is_equal_everywhere_gives_a_flat_curve() -> None:
    truth, predictions = Case().build()
    predictions["m1"] = predictions["m0"]

    found = disagree(truth, SAMPLE, ensemble(0.5, 0.5), predictions, seed=0)

    assert found is not None
    assert found.error_auroc is not None
    assert found.error_auroc.value == pytest.approx(0.5)
    values = [item.key_accuracy.value for item in found.risk]
    assert values == pytest.approx([values[-1]] * 10)  # whatever the frames' order


def test_a_shift_that_raises_disagreement_is_novel_and_one_that_does_not_is_chance() -> None:
    rng = np.random.default_rng(0)
    rooms = [rng.random(18) + rng.random() for _ in range(16)]  # a room's frames are alike
    higher = [item + 0.5 for item in rooms]

    same, new = tell_apart("same", rooms, rooms, seed=0), tell_apart("new", rooms, higher, seed=0)

    assert same.auroc.value == pytest.approx(0.5)
    assert same.auroc.low <= 0.5 <= same.auroc.high
    assert new.auroc.low > 0.5
    assert (new.auroc.n, new.auroc.method) == (16, "bootstrap-by-trial")


def test_frame_zero_of_a_shifted_room_is_not_told_apart() -> None:
    usual = [np.zeros(5) for _ in range(4)]
    shifted = [np.array([1.0, 0, 0, 0, 0]) for _ in range(4)]

    assert tell_apart("first", usual, shifted, seed=0).auroc.value == pytest.approx(0.5)


def test_auroc_is_that_of_scikit_learn_with_ties() -> None:
    rng = np.random.default_rng(1)
    scores, positive = rng.integers(0, 6, 300).astype(float), rng.random(300) < 0.3

    found = auroc(scores, positive, np.arange(300) // 15, seed=0)

    assert found is not None
    assert found.value == pytest.approx(roc_auc_score(positive, scores))


def test_aurocs_draws_are_those_of_resampled_units() -> None:
    """The quadratic form over units against scikit-learn on the frames themselves, draw by draw."""
    rng = np.random.default_rng(2)
    scores, positive, owner = rng.random(120), rng.random(120) < 0.4, np.arange(120) // 12
    counts = np.random.default_rng([0, 10]).multinomial(10, np.full(10, 0.1), 2_000)
    draws = []
    for drawn in counts[:200]:
        chosen = np.concatenate([np.tile(np.flatnonzero(owner == unit), times) for unit, times in enumerate(drawn)])
        draws.append(roc_auc_score(positive[chosen], scores[chosen]))

    found = auroc(scores, positive, owner, seed=0)

    assert found is not None
    assert found.high - found.low == pytest.approx(4.5 * np.std(draws), rel=0.2)


def test_frames_of_one_episode_are_no_independent_witnesses() -> None:
    rng = np.random.default_rng(3)
    mood = rng.random(20)
    hits = (rng.random((20, 50)) < mood[:, None]).astype(float).ravel()

    by_episode = rate_of_frames(hits, np.ones(1000), np.repeat(np.arange(20), 50), seed=0)
    by_frame = rate_of_frames(hits, np.ones(1000), np.arange(1000), seed=0)

    assert by_episode is not None
    assert by_frame is not None
    assert by_episode.value == pytest.approx(by_frame.value)
    assert by_episode.high - by_episode.low > 2 * (by_frame.high - by_frame.low)


def test_no_frame_has_no_rate() -> None:
    assert rate_of_frames(np.ones(3), np.zeros(3), np.arange(3), seed=0) is None


def test_novelty_is_asked_of_every_shift_that_is_seen_or_heard_and_of_no_other(tmp_path) -> None:
    store = FolderStore(tmp_path)
    members = []
    for seed in range(2):
        torch.manual_seed(seed)
        spec = recipes.compact_mlp(AXES2, frame=FrameSpec(width=16, height=9), features=8, hidden=8)
        weights = save_weights(store, build_module(spec, ("left", "right")).state_dict())
        fields = {"name": f"m{seed}", "spec": spec, "vocabulary": ("left", "right"), "weights": weights}
        members.append(member(f"m{seed}").model_copy(update=fields))
    both = ensemble(0.5, 0.5).model_copy(update={"members": tuple(members)})

    found = detect_novelty(store, both, (("1box_vert_left", 3), ("2box_hori_right", 4)), AXES2, seed=0)

    told = {shift.name: shift.family for shift in SHIFTS}
    assert {told[item.shift] for item in found} == set(told.values()) - {"motor slip", "latency", "dropped frames"}
    assert {item.auroc.n for item in found} == {2}
    values = {item.shift: item.auroc.value for item in found}
    assert values["words-reordered"] == pytest.approx(
        0.5, abs=0.002
    )  # the encoder sees which words are there, not their order
    assert values["light-dim"] != pytest.approx(0.5)
    assert detect_novelty(store, ensemble(1.0), (("1box_vert_left", 3),), AXES2, seed=0) == ()
    assert detect_novelty(store, both, (), AXES2, seed=0) == ()
