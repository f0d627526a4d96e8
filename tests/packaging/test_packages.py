import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load

from components.contracts import Budget, PackageManifest, Tolerances
from components.contracts.errors import IntegrityError, PackageError
from components.datasets import load_split
from components.packaging import download_package, package, serve_package
from components.packaging._export import export_graphs
from components.packaging._golden import replay
from components.packaging._package import _understood
from components.policies import load_module, predict
from components.robot import OnnxBench, Runtime, self_test
from tests.packaging.made import LEFT, camera_frame, change, report_on, untrained

pytestmark = pytest.mark.timeout(600)


def manifest_of(made) -> PackageManifest:
    return PackageManifest.parse((made.folder / "manifest.json").read_bytes(), source="manifest.json")


def test_package_made_twice_has_the_same_name(made):
    again = package(made.store, made.dataset, made.subject, made.report)

    assert again.sha256 == made.package.sha256
    assert again.files == made.package.files


def test_package_tells_what_a_runtime_needs(made):
    manifest = manifest_of(made)

    assert manifest.policy == "ensemble"
    assert manifest.vocabulary == made.dataset.vocabulary
    assert manifest.evaluation == made.report.digest()
    assert manifest.dataset == made.dataset.version
    assert manifest.subject == made.subject.digest()
    assert [spec.name for spec in manifest.step_inputs] == ["features", "tokens", "state_0", "state_1"]
    assert manifest.action_high == pytest.approx(
        (1.15, 1.15, 0.0)
    )  # angular_z is constant in the data: never commanded
    assert len({episode.instruction for episode in manifest.golden}) == 2
    assert {"torch", "onnx"} <= set(manifest.lineage.packages)


def test_package_measures_latency_outside_its_manifest(made):
    latency = made.package.latency

    assert 0 < latency.p50_ms <= latency.p95_ms <= latency.p99_ms
    assert latency.provider == "CPUExecutionProvider"
    assert latency.hardware
    assert b"latency" not in (made.folder / "manifest.json").read_bytes()


def test_package_passes_its_own_self_test(made):
    """In a process of its own, as on a robot: this one holds whatever tests ran before."""
    result = OnnxBench(budget=Budget(p99_ms=60_000)).self_test(made.folder, made.package.sha256)

    assert result.passed, result.failures
    assert result.nodes.keys() == {"CPUExecutionProvider"}
    assert result.scores_error < 1e-4
    assert result.pixels_error == 0


def test_runtime_drives_whole_episodes_as_torch_does(made):
    episodes = load_split(made.store, made.dataset, "test")
    expected = predict(made.store, made.subject, episodes)
    runtime = Runtime(made.folder)

    for episode, wanted in zip(episodes, expected, strict=True):
        runtime.reset(episode.instruction)
        actions = np.stack([runtime.act(frame) for frame in episode.frames])
        np.testing.assert_allclose(actions, wanted.actions, atol=1e-4)
    assert made.package.parity_max < 1e-5


def test_graphs_take_any_batch(made):
    runtime = Runtime(made.folder)
    frames = load_split(made.store, made.dataset, "test")[0].frames

    together = runtime.encode(frames)

    assert together.shape[0] == len(frames)
    np.testing.assert_allclose(together[:1], runtime.encode(frames[:1]), atol=1e-5)


def test_graphs_hold_no_trace_of_the_machine(made):
    for name in ("encode.onnx", "step.onnx"):
        data = (made.folder / name).read_bytes()
        assert b".py" not in data
        assert b"/work" not in data
        assert b"/home" not in data
        assert not onnx.load_from_string(data).metadata_props


def test_golden_outputs_are_those_of_real_frames(made):
    golden = load((made.folder / "golden.safetensors").read_bytes())
    known = {frame.tobytes() for episode in load_split(made.store, made.dataset, "test") for frame in episode.frames}

    assert {frame.tobytes() for frame in golden["frames"]} <= known
    assert np.abs(np.diff(golden["scores"], axis=0)).max() > 1e-3  # they differ, so a frozen policy would be found out


def test_bill_of_materials_names_weights_files_and_libraries(made):
    bill = json.loads((made.folder / "sbom.cdx.json").read_bytes())
    names = {item["name"] for item in bill["components"]}

    assert bill["bomFormat"] == "CycloneDX"
    assert {"lstm", "mlp", "encode.onnx", "step.onnx", "dataset", "torch", "numpy"} <= names
    weights = {item["hashes"][0]["content"] for item in bill["components"] if item["bom-ref"].startswith("member:")}
    assert weights == {member.weights.sha256 for member in made.subject.members}


def test_new_head_on_an_old_backbone_keeps_encode_onnx(made):
    old = load_module(made.store, made.subject.members[0])
    new = load_module(made.store, made.subject.members[0])
    with torch.no_grad():
        new.output.weight.add_(1)

    before, after = export_graphs(old), export_graphs(new)

    assert after.encode == before.encode
    assert after.step != before.step


def test_single_member_without_memory_and_with_continuous_actions_is_packaged_too(made, tmp_path):
    subject = untrained(made.store, made.dataset, "alone", head="mlp", seed=3, action_space="continuous")
    made_package = package(made.store, made.dataset, subject, report_on(subject, made.dataset))

    runtime = Runtime(download_package(made.store, made_package, tmp_path / "package"))
    session = runtime.session(LEFT)

    assert len(runtime.manifest.step_inputs) == 2
    assert session.state == []
    assert runtime.act_frame(camera_frame(1, 90, 160), session).scores.shape == (3,)


def test_parity_beyond_tolerance_is_refused(made):
    with pytest.raises(PackageError, match="expected onnxruntime within 1e-12 of torch"):
        package(made.store, made.dataset, made.subject, made.report, tolerances=Tolerances(features=1e-12))


def test_report_about_another_policy_is_refused(made):
    other = untrained(made.store, made.dataset, "other", seed=9)

    with pytest.raises(PackageError, match="expected the evaluation of ensemble"):
        package(made.store, made.dataset, made.subject, report_on(other, made.dataset))


def test_instruction_without_a_known_word_is_no_golden_one(made):
    known = [
        replace(item, instruction="zzz") if index else item
        for index, item in enumerate(load_split(made.store, made.dataset, "test"))
    ]

    assert _understood(known, made.dataset.vocabulary) == known[:1]
    with pytest.raises(PackageError, match="has a word of the training split's"):
        _understood(known[1:], made.dataset.vocabulary)


def test_test_episode_that_left_the_store_is_named(made, tmp_path):
    store = type(made.store)(shutil.copytree(made.store.root, tmp_path / "store"))
    for episode in made.dataset.of("test"):
        store.remove("episodes", f"{episode.sha256}.h5")

    with pytest.raises(PackageError, match="golden outputs need the test episode's own file"):
        package(store, made.dataset, made.subject, made.report)


def test_download_finds_a_whole_package_and_leaves_it(made, tmp_path):
    folder = download_package(made.store, made.package, tmp_path / "package")
    before = (folder / "encode.onnx").stat().st_ino

    assert download_package(made.store, made.package, folder) == folder
    assert (folder / "encode.onnx").stat().st_ino == before


def test_download_of_altered_blob_leaves_nothing(made, tmp_path):
    store = type(made.store)(shutil.copytree(made.store.root, tmp_path / "store"))
    ref = made.package.files["step.onnx"]
    data = bytearray(store.get(ref.bucket, ref.key))
    data[len(data) // 2] ^= 1
    store.put(ref.bucket, ref.key, bytes(data))

    with pytest.raises(IntegrityError):
        download_package(store, made.package, tmp_path / "robot" / "package")
    assert list((tmp_path / "robot").iterdir()) == []


def test_download_takes_shared_files_from_the_package_before(made, tmp_path):
    store = type(made.store)(shutil.copytree(made.store.root, tmp_path / "store"))
    store.remove("models", made.package.files["encode.onnx"].key)

    folder = download_package(store, made.package, tmp_path / "package", reuse=made.folder)

    assert (folder / "encode.onnx").read_bytes() == (made.folder / "encode.onnx").read_bytes()


def test_serving_is_switched_whole_and_says_its_release(made, tmp_path):
    folder = serve_package(made.store, made.package, tmp_path, release="release-7")

    link = tmp_path / "serving" / "package"
    assert link.is_symlink()
    assert link.resolve() == folder
    assert folder.with_name(f"{folder.name}.release").read_text() == "release-7"
    assert self_test(link, runs=1).package == made.package.sha256


def test_changed_vocabulary_fails_the_golden_outputs(made, tmp_path):
    folder = made.copy(tmp_path / "package")
    vocabulary = manifest_of(made).vocabulary
    change(folder, vocabulary=(*vocabulary[1:], vocabulary[0]))

    result = self_test(folder, runs=1)

    assert not result.passed
    assert any(failure.startswith("tokens") for failure in result.failures)


def test_changed_normalisation_fails_the_golden_outputs(made, tmp_path):
    folder = made.copy(tmp_path / "package")
    model = onnx.load(folder / "encode.onnx")
    for initializer in model.graph.initializer:
        value = onnx.numpy_helper.to_array(initializer)
        if value.shape == () and value == np.float32(0.5):  # (x / 255) - 0.5 becomes x / 255
            initializer.CopyFrom(onnx.numpy_helper.from_array(np.zeros((), np.float32), initializer.name))
            break
    else:
        pytest.fail("the graph's 0.5 was not found")
    change(folder, files={"encode.onnx": model.SerializeToString()})

    result = self_test(folder, runs=1)

    assert not result.passed
    assert any(failure.startswith("features") for failure in result.failures)


def test_replay_starts_every_episode_from_nothing(made):
    module = load_module(made.store, made.subject)
    episode = load_split(made.store, made.dataset, "test")[0]

    once, again = (replay(module, episode.frames, episode.instruction) for _ in range(2))

    np.testing.assert_array_equal(once.scores, again.scores)
