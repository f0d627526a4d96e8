"""The Bento of the promoted policy: `bentoml serve bentos.policy.service:PolicyService`.

    curl -F image=@frame.jpg -F instruction="Navigate around the single box obstacle by going left to reach the cup" \
         -F session=robot-1 http://127.0.0.1:3000/act

BentoML starts, supervises and measures the process (/livez, /readyz, /metrics); the routes are FastAPI's, mounted in
it, because BentoML's own form parser fetches any URL that stands where a file is expected, answers 500 to malformed
forms, and its index page loads a tracker. The page at / needs nothing from outside this machine.

What is not covered: who may ask (bind it to loopback, or put a proxy before it); batching over robots; sessions are
forgotten when the process ends, and their next frame begins an episode.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

import bentoml
from fastapi import File, Form, UploadFile

from components.contracts import AXES, Axis, Frozen, Settings, plain_logs
from components.robot import CPU, MAX_JPEG_BYTES

from ._http import Problem, make_app
from ._serving import Serving

SessionName = Annotated[str, Form(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="One robot's episode; any name")]
Instruction = Annotated[str, Form(min_length=1, max_length=512, description="What the robot is told")]
Reset = Annotated[bool, Form(description="Begin an episode: forget what was seen")]
Frame = Annotated[UploadFile, File(description="One camera frame, JPEG", json_schema_extra={"format": "binary"})]


class Answer(Frozen):
    """One action."""

    actions: tuple[float, float, float]
    """m/s, m/s, rad/s, in `axes`' order, after the safety layer."""
    axes: tuple[Axis, ...] = AXES
    key: str | None
    """The key press that it is."""
    fault: Literal["non-finite", "out-of-bounds", "deadline"] | None
    """Why the action is a stop, where it was not the policy's."""
    frame: int
    """Frames that this session has seen, this one included."""
    release: str
    package: str
    """SHA-256 of the package's manifest."""
    latency_ms: float
    """In the server, JPEG bytes to action."""
    provider: str


class Served(Frozen):
    """What is served."""

    policy: str
    release: str
    package: str
    provider: str
    action_space: str
    axes: tuple[Axis, ...]
    vocabulary: tuple[str, ...]
    sessions: int


plain_logs()
app = make_app()


@bentoml.service(name="PolicyService", workers=1, traffic={"timeout": 30}, logging={"access": {"enabled": False}})
@bentoml.asgi_app(app, path="/")
class PolicyService:
    """`DROVER_PACKAGE` names the package's folder; without it, `<DROVER_HOME>/serving/package`."""

    def __init__(self) -> None:
        folder = os.environ.get("DROVER_PACKAGE") or Settings().home / "serving" / "package"
        self._serving = Serving(Path(folder), provider=os.environ.get("DROVER_PROVIDER", CPU))

    async def __is_ready__(self) -> bool:
        """/readyz: whether there is a policy to ask."""
        return self._serving.ready

    @app.post("/act", response_model=Answer, responses={code: {"model": Problem} for code in (400, 413, 422, 503)})
    def act(self, image: Frame, instruction: Instruction, session: SessionName, reset: Reset = False) -> Answer:
        """One camera frame in, one action out. The session remembers; another instruction begins an episode."""
        active = self._serving.current()
        jpeg = image.file.read(MAX_JPEG_BYTES + 1)
        with active.sessions.episode(session, instruction, reset=reset) as episode:
            decision = active.runtime.act_jpeg(jpeg, episode)
            frame = episode.frames
        x, y, turn = (float(value) for value in decision.action)
        return Answer(
            actions=(x, y, turn),
            key=decision.key,
            fault=decision.fault,
            frame=frame,
            release=active.release,
            package=active.runtime.package,
            latency_ms=round(decision.latency_ms, 3),
            provider=active.runtime.provider,
        )

    @app.get("/policy", response_model=Served, responses={503: {"model": Problem}})
    def policy(self) -> Served:
        """What is served, and the words that it knows."""
        active = self._serving.current()
        runtime = active.runtime
        return Served(
            policy=runtime.manifest.policy,
            release=active.release,
            package=runtime.package,
            provider=runtime.provider,
            action_space=runtime.manifest.action_space,
            axes=runtime.manifest.axes,
            vocabulary=runtime.manifest.vocabulary,
            sessions=len(active.sessions),
        )
