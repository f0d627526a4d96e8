"""The Bento of the promoted policy, served by `python -m infra.serving`; `drover up` does so by itself.

    export DROVER_SERVING_TOKEN=$(openssl rand -hex 32)
    python -m infra.serving 3000
    curl -H "Authorization: Bearer $DROVER_SERVING_TOKEN" -F image=@frame.jpg -F session=robot-1 -F reset=true \
         -F instruction="Navigate around the single box obstacle by going left to reach the cup" \
         http://127.0.0.1:3000/act

BentoML measures the process and says that it is well (/livez, /readyz, /metrics); the routes are FastAPI's, mounted in
it, because BentoML's own form parser fetches any URL that stands where a file is expected, answers 500 to malformed
forms, and its index page loads a tracker. Everything but /livez, /readyz and the page at / needs the token. The page
needs nothing from outside this machine.

A robot sends `reset=true` with an episode's first frame. `restarted: true` in a later answer tells it that its memory
was lost: the service was started anew or serves another package, or the session was unused for ten minutes.

What is not covered: `bentoml serve`, which keeps the token but whose process manager (circus) opens a port through
which every user of the machine can start programs; robots apart from each other: who has the token may use any
session's name; TLS (put a proxy before it, and its name in DROVER_SERVING_HOSTS); batching over robots.
"""

import logging
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import bentoml
from anyio.to_thread import run_sync
from fastapi import File, Form, UploadFile

from components.contracts import AXES, Axis, Frozen, Settings, plain_logs
from components.robot import CPU

from ._access import guarded, serving_token
from ._bodies import MAX_FRAME_BYTES, frame_cost
from ._http import Problem, make_app
from ._queue import FairQueue
from ._serving import Serving

_log = logging.getLogger(__name__)
_MOST_WORKERS = 8
"""A frame in work takes up to 64 MiB: its pixels as float64."""
_MOST_WAITING = 32

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
    restarted: bool = False
    """Nothing was remembered under this session's name, and the request did not say `reset`."""
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
        workers = min(_MOST_WORKERS, max(2, os.cpu_count() or 1))
        self._queue = FairQueue(workers, _MOST_WAITING)
        self._workers = anyio.CapacityLimiter(workers)  # threads that nothing else takes

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check_start() -> None:
        """Run by `bentoml serve` before anything listens."""
        serving_token()
        _log.warning("every user of this machine can start programs through `bentoml serve`; use `infra.serving`")

    async def __is_ready__(self) -> bool:
        """/readyz: whether there is a policy to ask."""
        return await run_sync(lambda: self._serving.ready)

    @app.post(
        "/act", response_model=Answer, responses={code: {"model": Problem} for code in (400, 408, 413, 422, 429, 503)}
    )
    async def act(self, image: Frame, instruction: Instruction, session: SessionName, reset: Reset = False) -> Answer:
        """One camera frame in, one action out. The session remembers; another instruction begins an episode."""
        active = await run_sync(self._serving.current)
        jpeg = await image.read(MAX_FRAME_BYTES + 1)
        async with active.sessions.turn(session, instruction, reset=reset) as turn:
            cost = await run_sync(frame_cost, jpeg, active.runtime.manifest.frame)
            async with self._queue.turn(session, cost):
                decision = await run_sync(active.runtime.act_jpeg, jpeg, turn.session, limiter=self._workers)
            frame = turn.session.frames
        x, y, yaw = (float(value) for value in decision.action)
        return Answer(
            actions=(x, y, yaw),
            key=decision.key,
            fault=decision.fault,
            frame=frame,
            restarted=turn.restarted,
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


bento: Any = PolicyService
"""BentoML's decorator made a service of the class."""
bento.add_asgi_middleware(guarded)
