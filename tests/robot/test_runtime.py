import io
import subprocess
import sys

import numpy as np
import onnx
import pytest
from PIL import Image

from components.contracts import Budget
from components.contracts.errors import ConfigurationError, PackageError, PolicyError
from components.robot import CPU, Runtime, decode_jpeg, measure_latency, percentiles, self_test, undecided
from tests.packaging.made import LEFT, RIGHT, camera_frame, change, made_once


@pytest.fixture(scope="module")
def runtime():
    return Runtime(made_once().folder)


@pytest.fixture
def folder(tmp_path):
    return made_once().copy(tmp_path / "package")


def jpeg(image, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", **({"quality": 90} | options))
    return file.getvalue()


FRAMES = [camera_frame(seed, 90, 160) for seed in range(5)]


def test_bytes_and_pixels_give_the_same_action(runtime):
    data = jpeg(FRAMES[0])
    by_bytes, by_pixels = runtime.session(LEFT), runtime.session(LEFT)

    one, other = runtime.act_jpeg(data, by_bytes), runtime.act_frame(decode_jpeg(data), by_pixels)

    np.testing.assert_array_equal(one.scores, other.scores)
    assert one.fault is None
    assert one.action.shape == (3,)
    assert one.latency_ms > 0
    assert by_bytes.frames == 1


def test_sessions_do_not_know_of_each_other(runtime):
    alone = runtime.session(LEFT)
    expected = [runtime.act_frame(frame, alone).scores for frame in FRAMES]

    left, right = runtime.session(LEFT), runtime.session(RIGHT)
    mixed = []
    for frame in FRAMES:
        mixed.append(runtime.act_frame(frame, left).scores)
        runtime.act_frame(frame[::-1].copy(), right)

    np.testing.assert_array_equal(mixed, expected)


def test_memory_changes_what_is_done_and_reset_forgets(runtime):
    runtime.reset(LEFT)
    first = runtime.act_frame(FRAMES[0], runtime._own).scores
    later = runtime.act_frame(FRAMES[0], runtime._own).scores
    runtime.reset(LEFT)
    again = runtime.act_frame(FRAMES[0], runtime._own).scores

    np.testing.assert_array_equal(first, again)
    assert np.abs(first - later).max() > 1e-6


def test_instruction_changes_the_scores(runtime):
    left, right = runtime.session(LEFT), runtime.session(RIGHT)

    scores = [runtime.act_frame(FRAMES[0], session).scores for session in (left, right)]

    assert np.abs(scores[0] - scores[1]).max() > 1e-6


def test_acting_before_an_episode_begins_is_refused(folder):
    with pytest.raises(PolicyError, match="expected `reset"):
        Runtime(folder).act(FRAMES[0])


@pytest.mark.parametrize("instruction", ["", "xyzzy", "?" * 20, "left " * 200])
def test_instruction_that_says_nothing_is_refused(runtime, instruction):
    with pytest.raises(PolicyError, match="expected an instruction"):
        runtime.session(instruction)


def test_provider_that_is_not_installed_is_refused(folder):
    with pytest.raises(ConfigurationError, match="expected the execution provider NoSuchExecutionProvider"):
        Runtime(folder, "NoSuchExecutionProvider")


def test_provider_that_would_fall_back_to_the_cpu_is_refused(folder):
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)  # the provider's own complaints
    absent = [name for name in onnxruntime.get_available_providers() if name != CPU]
    if not absent:
        pytest.skip("this onnxruntime has only the CPU provider")
    try:
        runtime = Runtime(folder, absent[-1])
    except ConfigurationError as error:
        refusal = str(error)
    else:
        pytest.skip(f"this machine has the device: {runtime.placement()}")

    assert "fell back" in refusal
    assert self_test(folder, provider=absent[-1]).failures == (refusal,)


def test_placement_is_what_onnxruntime_profiled(runtime):
    placement = runtime.placement()

    assert set(placement) == {CPU}
    assert placement[CPU] > 5


def poisoned(folder, name):
    """A package whose graph computes NaN."""
    model = onnx.load(folder / name)
    weights = [
        item for item in model.graph.initializer if item.data_type == onnx.TensorProto.FLOAT and len(item.dims) == 2
    ]
    for item in weights:
        value = onnx.numpy_helper.to_array(item)
        item.CopyFrom(onnx.numpy_helper.from_array(np.full_like(value, np.nan), item.name))
    change(folder, files={name: model.SerializeToString()})
    return folder


@pytest.mark.parametrize("name", ["encode.onnx", "step.onnx"])
def test_policy_that_computes_nan_stops_the_robot_and_keeps_its_memory_clean(folder, name):
    runtime = Runtime(poisoned(folder, name))
    session = runtime.session(LEFT)

    decision = runtime.act_frame(FRAMES[0], session)

    assert decision.fault == "non-finite"
    assert not decision.action.any()
    assert decision.key == "space"
    assert all(np.isfinite(state).all() for state in session.state)


def test_policy_that_computes_nan_fails_its_self_test(folder):
    result = self_test(poisoned(folder, "step.onnx"), runs=1)

    assert not result.passed
    assert any("non-finite" in failure for failure in result.failures)
    assert result.model_dump_json()


def test_action_after_the_deadline_is_a_stop(folder):
    runtime = Runtime(folder, deadline_s=1e-9)

    decision = runtime.act_frame(FRAMES[0], runtime.session(LEFT))

    assert decision.fault == "deadline"
    assert not decision.action.any()


def test_p99_over_budget_fails_the_self_test(folder):
    result = self_test(folder, budget=Budget(p99_ms=1e-6), runs=5)

    assert not result.passed
    assert [failure for failure in result.failures if failure.startswith("latency: expected p99 at most 1e-06 ms")]


def test_memory_over_budget_fails_the_self_test(folder):
    result = self_test(folder, budget=Budget(memory_mib=1), runs=1)

    assert any(failure.startswith("memory: expected at most 1 MiB") for failure in result.failures)


def test_changed_golden_image_fails_the_self_test(folder):
    change(folder, files={"golden-0-0.jpg": jpeg(np.ascontiguousarray(FRAMES[0][..., ::-1]))})

    assert any(failure.startswith("pixels") for failure in self_test(folder, runs=1).failures)


def test_golden_tensors_of_other_lengths_are_refused(folder):
    manifest = Runtime(folder).manifest
    longer = [episode.model_copy(update={"frames": episode.frames + 1}) for episode in manifest.golden]
    change(folder, golden=[episode.model_dump() for episode in longer])

    result = self_test(folder)

    assert "expected tensors of lengths" in result.failures[0]


def test_package_without_golden_episodes_fails_the_self_test(folder):
    change(folder, golden=())

    assert "expected golden episodes" in self_test(folder).failures[0]


def test_latency_is_of_the_whole_path(runtime):
    latency = measure_latency(runtime, [jpeg(FRAMES[0])], LEFT, runs=20)

    assert latency.n == 20
    assert 0 < latency.p50_ms <= latency.p95_ms <= latency.p99_ms
    with pytest.raises(PolicyError, match="at least one JPEG"):
        measure_latency(runtime, [], LEFT, runs=20)


def test_percentiles_are_times_that_were_measured():
    assert percentiles([float(n) for n in range(1, 101)]) == (50.5, 95.0, 99.0)
    assert percentiles([3.0]) == (3.0, 3.0, 3.0)


def test_scores_near_half_are_undecided():
    clear = np.array([[0.0, 0.1, 0.9], [0.0, 0.9, 0.1], [0.0, 1.0, 0.0]])
    near = clear.copy()
    near[0] = (0.0, 0.5005, 0.4995)

    assert not undecided(clear, 1e-3)
    assert undecided(near, 1e-3)


def test_grey_jpeg_becomes_three_channels():
    assert decode_jpeg(jpeg(FRAMES[0][..., 0])).shape == (90, 160, 3)


HOSTILE = {
    "nothing": b"",
    "text": b"GET / HTTP/1.1",
    "start only": b"\xff\xd8\xff",
    "noise": b"\xff\xd8\xff" + bytes(range(256)) * 8,
    "png": b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
    "cut off": jpeg(FRAMES[0])[:800],
    "one pixel": jpeg(np.zeros((1, 1, 3), np.uint8)),
    "thin": jpeg(np.zeros((2, 5000, 3), np.uint8)),
    "many pixels": jpeg(np.zeros((4000, 4000, 3), np.uint8), quality=1),
    "many bytes": jpeg(FRAMES[0]) + b"\0" * (4 * 2**20),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_jpeg_is_refused_and_the_session_is_as_before(runtime, data):
    session = runtime.session(LEFT)

    with pytest.raises(PolicyError, match="expected a"):
        runtime.act_jpeg(data, session)
    assert session.frames == 0
    assert not any(state.any() for state in session.state)


def test_stated_size_is_judged_before_a_pixel_is_decoded():
    data = bytearray(jpeg(FRAMES[0]))
    header = data.index(b"\xff\xc0")
    data[header + 5 : header + 9] = b"\xff\xff\xff\xff"  # 65535 x 65535: 12 GB

    with pytest.raises(PolicyError, match="expected a"):
        decode_jpeg(bytes(data))


def test_package_of_another_format_is_refused(folder):
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"drover-policy/1", b"drover-policy/9"))

    with pytest.raises(PackageError, match="format"):
        Runtime(folder)


def test_robot_door_loads_no_heavy_library():
    heavy = ("torch", "onnxruntime", "ray", "bentoml")
    code = f"import sys, components.robot; print([name for name in {heavy} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
