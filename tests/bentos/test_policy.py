"""A real Bento on a free port, asked over HTTP."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps
from pydantic import SecretStr

from components.contracts.errors import PolicyError
from components.packaging import download_package, golden_request, measure_endpoint
from components.robot import Runtime
from tests.bentos.served import JPEGS, START_S, TOKEN, jpeg
from tests.packaging.made import LEFT, RIGHT
from tests.robot.test_jpegs import scans

pytestmark = pytest.mark.timeout(600)


def test_without_a_package_it_says_what_to_do(served):
    before, ready_before = served

    assert before.status_code == 503
    assert "no policy is served yet" in before.json()["error"]
    assert ready_before == 503


def test_answers_are_the_runtimes(asked, made):
    runtime = Runtime(made.folder)
    session = runtime.session(LEFT)

    for number, data in enumerate(JPEGS, 1):
        expected = runtime.act_jpeg(data, session)
        answer = asked.act(data, session="same").json()
        np.testing.assert_allclose(answer["actions"], expected.action, atol=1e-6)
        assert answer["key"] == expected.key
        assert answer["frame"] == number
        assert answer["fault"] is None
        assert answer["package"] == made.package.sha256
        assert answer["release"] == "release-1"
        assert answer["provider"] == "CPUExecutionProvider"
        assert answer["latency_ms"] > 0


def test_policy_page_tells_what_is_served(asked, made):
    served = asked.client.get("/policy").json()

    assert served["package"] == made.package.sha256
    assert served["vocabulary"] == list(made.dataset.vocabulary)
    assert asked.client.get("/readyz").status_code == 200


def test_sessions_count_their_own_frames(asked):
    frames = [asked.act(JPEGS[0], session=name).json()["frame"] for name in ("a", "b", "a", "a", "b")]

    assert frames == [1, 1, 2, 3, 2]


def test_another_instruction_begins_an_episode(asked):
    told = [(LEFT, 1), (LEFT, 2), (RIGHT, 1), (RIGHT, 2), (LEFT, 1)]

    assert [asked.act(JPEGS[0], session="told", instruction=text).json()["frame"] for text, _ in told] == [
        frame for _, frame in told
    ]


def test_reset_begins_an_episode(asked):
    frames = [asked.act(JPEGS[0], session="reset", reset=reset).json()["frame"] for reset in ("false", "false", "true")]

    assert frames == [1, 2, 1]


def test_robots_at_once_get_what_each_would_get_alone(asked, made):
    runtime = Runtime(made.folder)

    def drive(robot):
        order = np.random.default_rng(robot).permutation(len(JPEGS))
        session = runtime.session(LEFT)
        alone = [runtime.act_jpeg(JPEGS[index], session).action.tolist() for index in order]
        return alone, [asked.act(JPEGS[index], session=f"many-{robot}").json()["actions"] for index in order]

    with ThreadPoolExecutor(8) as pool:
        for alone, together in pool.map(drive, range(8)):
            np.testing.assert_allclose(together, alone, atol=1e-6)


def test_one_session_from_many_threads_counts_every_frame_once(asked):
    with ThreadPoolExecutor(8) as pool:
        frames = list(pool.map(lambda _: asked.act(JPEGS[0], session="shared").json()["frame"], range(24)))

    assert sorted(frames) == list(range(1, 25))


def test_answer_tells_when_nothing_was_remembered(asked):
    begun = [asked.act(JPEGS[0], session="told-of", **fields).json() for fields in ({}, {}, {"reset": "true"})]
    asked.act(JPEGS[0], session="asked-for", reset="true")

    assert [answer["restarted"] for answer in begun] == [True, False, False]
    assert not asked.act(JPEGS[0], session="asked-for", instruction=RIGHT).json()["restarted"]


BAD_IMAGES = {
    "nothing": b"",
    "text": b"hello",
    "pickle": b"\x80\x04\x95\x00",
    "cut off": JPEGS[0][:500],
    "without its middle": JPEGS[0][: len(JPEGS[0]) * 2 // 3] + JPEGS[0][len(JPEGS[0]) * 5 // 6 :],
    "thousands of scans": scans(5000),
    "more pixels than 1920x1080": jpeg(0, 1088, 1936),
    "more work than a frame of 1920x1080": scans(8),
    "noise": b"\xff\xd8\xff" + bytes(range(256)) * 4,
}


@pytest.mark.parametrize("data", BAD_IMAGES.values(), ids=BAD_IMAGES.keys())
def test_bad_image_is_refused_and_the_session_goes_on(asked, data):
    asked.act(JPEGS[0], session="bad", reset="true")

    refused = asked.act(data, session="bad")

    assert refused.status_code == 400
    assert refused.json()["error"].startswith("expected a")
    assert asked.act(JPEGS[0], session="bad").json()["frame"] == 2


def test_turned_frame_drives_as_the_upright_one(asked, made):
    """Stored upside down, and its EXIF says so: the answer is the runtime's for the frame that a viewer shows."""
    upright = Image.open(io.BytesIO(JPEGS[0])).convert("RGB")
    exif, stored = Image.Exif(), io.BytesIO()
    exif[0x0112] = 3
    upright.transpose(Image.Transpose.ROTATE_180).save(stored, "PNG")  # exact, to take its pixels from
    turned = io.BytesIO()
    Image.open(stored).save(turned, "JPEG", quality=95, exif=exif)
    with Image.open(turned) as image:
        shown = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    runtime = Runtime(made.folder)

    expected = runtime.act_frame(shown, runtime.session(LEFT))

    np.testing.assert_allclose(
        asked.act(turned.getvalue(), session="turned").json()["actions"], expected.action, atol=1e-6
    )


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"instruction": "xyzzy"}, 400),
        ({"instruction": ""}, 422),
        ({"instruction": "left " * 200}, 422),
        ({"session": "../etc"}, 422),
        ({"session": "x" * 65}, 422),
        ({"session": "a\0b"}, 422),
        ({"reset": "perhaps"}, 422),
    ],
)
def test_bad_field_is_refused_with_its_name(asked, fields, status):
    answer = asked.act(JPEGS[0], **fields)

    assert answer.status_code == status
    assert answer.json()["error"].startswith("expected")
    assert next(iter(fields)) in answer.json()["error"]


def test_form_of_many_parts_is_refused(asked):
    many = asked.client.post("/act", files=[("image", ("a", JPEGS[0])), ("image", ("b", JPEGS[1]))])
    fields = asked.act(JPEGS[0], **{f"field-{number}": "x" for number in range(100)})
    long = asked.act(JPEGS[0], extra="x" * 10_000)

    for answer in (many, fields, long):
        assert answer.status_code == 400
        assert answer.json()["error"]


def test_requests_that_are_no_form_get_a_clear_answer(asked):
    post = asked.client.post
    answers = [
        post("/act"),
        post("/act", json={"image": "x"}),
        post("/act", content=JPEGS[0], headers={"content-type": "image/jpeg"}),
        post("/act", content=b"abc", headers={"content-type": "multipart/form-data"}),
        post("/act", content=b"abc", headers={"content-type": "multipart/form-data; boundary=x"}),
        post("/act", content=b"x", headers={"content-type": "application/vnd.bentoml+pickle"}),
        post("/act", data={"image": "http://127.0.0.1:9/x.jpg", "instruction": LEFT, "session": "a"}),
        post("/act", files={"image": ("a" * 5000, JPEGS[0][:50])}, data={"instruction": LEFT, "session": "a"}),
        asked.client.get("/act"),
    ]

    for answer in answers:
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.json()["error"]


def test_large_body_is_refused_whether_or_not_it_says_its_length(asked):
    def endless():
        for _ in range(80):
            yield b"\0" * 2**17

    told = asked.act(b"\xff\xd8\xff" + b"\0" * 5 * 2**20)
    chunked = asked.client.post("/act", content=endless(), headers={"content-type": "multipart/form-data; boundary=x"})

    assert (told.status_code, chunked.status_code) == (413, 413)
    assert "expected a request of at most" in told.json()["error"]


def test_page_calls_nobody_and_the_api_is_described_to_clients(asked):
    page = asked.client.get("/")
    form = asked.client.get("/docs.json").json()["components"]["schemas"]["Body_act_act_post"]["properties"]

    assert "http" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert form["image"]["format"] == "binary"
    assert {"instruction", "session", "reset"} < form.keys()


def test_largest_frame_is_taken(asked):
    assert asked.act(jpeg(0, 1080, 1920), session="largest", reset="true").json()["frame"] == 1


def test_crowd_with_expensive_frames_gets_answers_or_is_told_to_wait_and_a_cheap_session_loses_none(asked):
    large = jpeg(0, 1080, 1920)
    with ThreadPoolExecutor(49) as pool:
        crowd = [pool.submit(asked.act, large, session=f"large-{number}", reset="true") for number in range(48)]
        frames = [asked.act(JPEGS[0], session="small", reset="false").json().get("frame") for _ in range(12)]
        answers = [future.result() for future in crowd]

    assert frames == list(range(1, 13))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert sum(answer.status_code == 200 for answer in answers) >= 32
    assert {answer.headers["retry-after"] for answer in answers if answer.status_code == 503} <= {"1"}


def test_metrics_count_requests_by_status(asked):
    asked.act(b"", session="metrics")

    text = asked.client.get("/metrics").text

    assert 'endpoint="/act",http_response_code="400"' in text


def test_endpoint_is_timed_from_outside(asked):
    jpegs, instruction = golden_request(asked.home / "serving" / "package")
    latency = measure_endpoint(asked.url, jpegs, instruction, token=SecretStr(TOKEN), n=20)

    assert latency.n == 20
    assert 0 < latency.p50_ms <= latency.p95_ms <= latency.p99_ms
    assert latency.provider == "CPUExecutionProvider"


def test_endpoint_that_refuses_or_is_not_there_is_named(asked):
    with pytest.raises(PolicyError, match="does not answer as a policy does"):
        measure_endpoint(asked.url, [b"no image"], LEFT, token=SecretStr(TOKEN), n=1)
    with pytest.raises(PolicyError, match="401"):
        measure_endpoint(asked.url, JPEGS, LEFT, n=1)
    with pytest.raises(PolicyError, match="does not answer as a policy does"):
        measure_endpoint("http://127.0.0.1:9", JPEGS, LEFT, n=1)


def test_broken_package_does_not_replace_one_that_serves(asked, made):
    link = asked.home / "serving" / "package"
    broken = download_package(made.store, made.package, asked.home / "broken")
    (broken / "step.onnx").write_bytes(b"\x08")
    keep = link.readlink()
    fresh = link.with_name("fresh")
    fresh.symlink_to(broken)
    fresh.replace(link)
    try:
        pause, end = threading.Event(), time.monotonic() + START_S
        while "is refused" not in (asked.home / "bento.log").read_text():
            assert asked.act(JPEGS[0]).status_code == 200
            assert time.monotonic() < end
            pause.wait(0.1)
        assert asked.act(JPEGS[0]).json()["package"] == made.package.sha256
    finally:
        link.unlink()
        link.symlink_to(keep)
