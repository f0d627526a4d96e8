"""A real Bento on a free port, asked over HTTP."""

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from components.contracts.errors import PolicyError
from components.packaging import download_package, golden_request, measure_endpoint
from components.robot import Runtime
from tests.packaging.made import LEFT, RIGHT, camera_frame

pytestmark = pytest.mark.timeout(600)
START_S = 180


@dataclass
class Bento:
    """A served package; `home` is its DROVER_HOME."""

    url: str
    home: Path
    client: httpx.Client

    def act(self, jpeg, *, instruction=LEFT, session="robot-1", **fields):
        return self.client.post(
            "/act",
            files={"image": ("frame.jpg", jpeg, "image/jpeg")},
            data={"instruction": instruction, "session": session} | fields,
        )


def jpeg(seed, height=90, width=160):
    file = io.BytesIO()
    Image.fromarray(camera_frame(seed, height, width)).save(file, format="JPEG", quality=90)
    return file.getvalue()


JPEGS = [jpeg(seed) for seed in range(6)]


@pytest.fixture(scope="module")
def bento(made, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1"}
    environment = os.environ | {"DROVER_HOME": str(home), "BENTOML_HOME": str(home / "bentoml")} | quiet
    environment.pop("DROVER_PACKAGE", None)
    command = [sys.executable, "-m", "bentoml", "serve", "bentos.policy.service:PolicyService"]
    log = (home / "bento.log").open("wb")
    command += ["--host", "127.0.0.1", "--port", str(port)]
    root, url = Path(__file__).parents[2], f"http://127.0.0.1:{port}"
    with (
        subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=root) as process,
        log,
        httpx.Client(base_url=url, timeout=60, trust_env=False) as client,
    ):
        try:
            wait_until(lambda: alive(client), process, home)
            yield Bento(url, home, client)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def alive(client):
    try:
        return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


def wait_until(condition, process, home):
    pause, end = threading.Event(), time.monotonic() + START_S
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            pytest.fail(f"the Bento does not answer:\n{(home / 'bento.log').read_text()[-3000:]}")
        pause.wait(0.1)


@pytest.fixture(scope="module")
def served(bento, made):
    """The Bento after a first promotion, which it has to notice by itself."""
    from components.packaging import serve_package

    before = bento.act(JPEGS[0])
    ready_before = bento.client.get("/readyz").status_code
    serve_package(made.store, made.package, bento.home, release="release-1")
    pause, end = threading.Event(), time.monotonic() + START_S
    while bento.act(JPEGS[0]).status_code == 503:
        assert time.monotonic() < end
        pause.wait(0.1)
    return before, ready_before


@pytest.fixture
def asked(bento, served):
    return bento


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


BAD_IMAGES = {
    "nothing": b"",
    "text": b"hello",
    "pickle": b"\x80\x04\x95\x00",
    "cut off": JPEGS[0][:500],
    "noise": b"\xff\xd8\xff" + bytes(range(256)) * 4,
}


@pytest.mark.parametrize("data", BAD_IMAGES.values(), ids=BAD_IMAGES.keys())
def test_bad_image_is_refused_and_the_session_goes_on(asked, data):
    asked.act(JPEGS[0], session="bad", reset="true")

    refused = asked.act(data, session="bad")

    assert refused.status_code == 400
    assert refused.json()["error"].startswith("expected a")
    assert asked.act(JPEGS[0], session="bad").json()["frame"] == 2


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


def test_page_calls_nobody_and_describes_the_form(asked):
    page = asked.client.get("/").text
    document = asked.client.get("/docs.json").json()
    form = document["components"]["schemas"]["Body_act_act_post"]["properties"]

    assert "http" not in page
    assert asked.client.get("/static_content/swagger-ui-bundle.js").status_code == 200
    assert document["openapi"].startswith("3.0")
    assert form["image"]["format"] == "binary"
    assert {"instruction", "session", "reset"} < form.keys()


def test_metrics_count_requests_by_status(asked):
    asked.act(b"", session="metrics")

    text = asked.client.get("/metrics").text

    assert 'endpoint="/act",http_response_code="400"' in text


def test_endpoint_is_timed_from_outside(asked):
    jpegs, instruction = golden_request(asked.home / "serving" / "package")
    latency = measure_endpoint(asked.url, jpegs, instruction, n=20)

    assert latency.n == 20
    assert 0 < latency.p50_ms <= latency.p95_ms <= latency.p99_ms
    assert latency.provider == "CPUExecutionProvider"


def test_endpoint_that_refuses_or_is_not_there_is_named(asked):
    with pytest.raises(PolicyError, match="does not answer as a policy does"):
        measure_endpoint(asked.url, [b"no image"], LEFT, n=1)
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
