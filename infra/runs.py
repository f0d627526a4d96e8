"""Runs of the flows on the running stack, over Prefect's HTTP API: start one, follow it, explain its failure, read it.

    with open_runs(settings) as runs:
        run = runs.start("train-and-promote", {"plan": {"trials": None}})
        runs.stages(run), runs.refresh(run), runs.reason(run), runs.logs(run, last=100)

The same deployments as Prefect's own command and pages use. Prefect itself is not imported: that takes seconds, and its
client would start a server of its own where it finds no address.

What is not covered: pausing, rescheduling and cancelling runs. Prefect's command and pages do that.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from components.contracts import Settings, errors
from components.contracts.errors import ConfigurationError, StackError

from ._prefect import basic_auth

DEPLOYMENTS = {"train-and-promote": "on-demand", "ingest-episodes": "on-demand"}
"""Flow -> the deployment that starts it when somebody asks."""
_FINAL = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
_TIMEOUT_S = 20.0
_BUSY_S = 60.0
"""The time for which Prefect is asked again when it has none, such as while its database is locked."""
_PAGE = 200
"""The most that Prefect's API returns for one request."""
_PREFIX = re.compile(r"^(?:(?:Flow|Task) run encountered an exception:? )?(?:(?P<kind>\w+): )?", re.DOTALL)
_STAGE_TAG = "stage:"


class _BusyError(StackError):
    """Prefect is there and did not answer the question: it is asked again."""


@dataclass(frozen=True)
class Run:
    """A flow run as Prefect reported it last."""

    id: str
    name: str
    state: str
    """Of Prefect's types: SCHEDULED, PENDING, RUNNING, COMPLETED, FAILED, CRASHED, CANCELLING, CANCELLED, PAUSED."""
    title: str
    """The state's name, e.g. `Refused` or `AwaitingConcurrencySlot`."""
    message: str
    """The state's; of a failure the error's, without Prefect's introduction."""
    begun: datetime | None
    seconds: float

    @property
    def is_over(self) -> bool:
        return self.state in _FINAL

    @property
    def succeeded(self) -> bool:
        return self.state == "COMPLETED"


@dataclass(frozen=True)
class Stage:
    """A task run of a flow run."""

    id: str
    name: str
    state: str
    message: str
    seconds: float

    @property
    def is_over(self) -> bool:
        return self.state in _FINAL


@dataclass(frozen=True)
class LogLine:
    """A log record of a flow run or of one of its stages."""

    id: str
    at: datetime
    level: int
    text: str


class Runs:
    """Flow runs of one Prefect server. See `open_runs`."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def start(self, flow: str, parameters: Mapping[str, Any]) -> Run:
        """Start the flow's deployment for runs on demand.

        Raises:
            ConfigurationError: Prefect refuses the parameters.
            StackError: Prefect does not answer, or the deployment is not registered.
        """
        path = f"/deployments/name/{flow}/{DEPLOYMENTS[flow]}"
        deployment = self._ask("GET", path)
        wanted = {"parameters": dict(parameters), "idempotency_key": str(uuid4())}  # asked again it is one run
        return _run(self._ask("POST", f"/deployments/{deployment['id']}/create_flow_run", wanted))

    def refresh(self, run: Run) -> Run:
        """The run as it is now."""
        return _run(self._ask("GET", f"/flow_runs/{run.id}"))

    def recent(self, most: int = 10) -> list[tuple[str, Run]]:
        """The newest begun runs, each with its flow's name; the newest last."""
        wanted = {"sort": "START_TIME_DESC", "limit": most, "flow_runs": {"start_time": {"is_null_": False}}}
        found = self._ask("POST", "/flow_runs/filter", wanted)
        flows = {flow["id"]: str(flow["name"]) for flow in self._ask("POST", "/flows/filter", {})}
        return [(flows.get(document["flow_id"], "?"), _run(document)) for document in reversed(found)]

    def find(self, wanted: str) -> Run | None:
        """A run by its id, by its name, or the newest one of a flow by the flow's name; None if there is none."""
        choices: list[dict[str, Any]] = [{"flow_runs": {"name": {"any_": [wanted]}}}]
        try:
            choices.insert(0, {"flow_runs": {"id": {"any_": [str(UUID(wanted))]}}})
        except ValueError:
            choices.append({"flows": {"name": {"any_": [wanted]}}, "flow_runs": {"start_time": {"is_null_": False}}})
        for choice in choices:
            if found := self._ask("POST", "/flow_runs/filter", choice | {"sort": "START_TIME_DESC", "limit": 1}):
                return _run(found[0])
        return None

    def stages(self, run: Run) -> list[Stage]:
        """The run's task runs in the order in which they began."""
        wanted = {
            "flow_runs": {"id": {"any_": [run.id]}},
            "sort": "EXPECTED_START_TIME_ASC",
            "limit": _PAGE,
        }
        return [_stage(document) for document in self._ask("POST", "/task_runs/filter", wanted)]

    def reason(self, run: Run) -> str:
        """Explain a run that failed: the message of the stage that failed, else the run's own, else its last errors."""
        failed = [stage for stage in self.stages(run) if stage.state in {"FAILED", "CRASHED"}]
        if run.state != "CRASHED" and failed and failed[-1].message in run.message:
            return f"{failed[-1].name}: {failed[-1].message}"
        if run.state == "FAILED" and run.message:
            return run.message
        said = run.message or f"it ended as {run.title}"
        errors_logged = [line.text for line in self.logs(run, last=_PAGE) if line.level >= 40]
        return f"{said}; its last error: {errors_logged[-1]}" if errors_logged else said

    def logs(self, run: Run, *, last: int | None = None, since: datetime | None = None) -> list[LogLine]:
        """Log records of the run and its stages, the newest last.

        Args:
            run: Whose.
            last: At most so many, the newest; None: all.
            since: Only records of this moment and later ones.
        """
        chosen: dict[str, Any] = {"flow_run_id": {"any_": [run.id]}}
        if since is not None:
            chosen["timestamp"] = {"after_": since.isoformat()}
        lines: list[LogLine] = []
        while last is None or len(lines) < last:
            limit = _PAGE if last is None else min(_PAGE, last - len(lines))
            wanted = {"logs": chosen, "sort": "TIMESTAMP_DESC", "limit": limit, "offset": len(lines)}
            page = self._ask("POST", "/logs/filter", wanted)
            lines += [_line(document) for document in page]
            if len(page) < limit:
                break
        return lines[::-1]

    def page(self, run: Run) -> str:
        """Where Prefect's page of the run is."""
        return f"{str(self._client.base_url).removesuffix('/').removesuffix('/api')}/runs/flow-run/{run.id}"

    @retry(
        retry=retry_if_exception_type(_BusyError), stop=stop_after_delay(_BUSY_S), wait=wait_fixed(1.0), reraise=True
    )
    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            kind = _BusyError if isinstance(error, httpx.ReadTimeout) else StackError
            raise kind(
                f"expected Prefect to answer at {self._client.base_url}, got {error or type(error).__name__}; "
                "`drover status` shows what runs, `drover up` starts the stack"
            ) from None
        if answer.is_success:
            return answer.json()
        detail = _detail(answer)
        if answer.status_code == httpx.codes.NOT_FOUND and path.startswith("/deployments/name/"):
            name = path.removeprefix("/deployments/name/")
            raise StackError(f"deployment {name} is not registered; `drover logs supervisor` says why")
        if answer.status_code in {httpx.codes.CONFLICT, httpx.codes.UNPROCESSABLE_ENTITY, httpx.codes.BAD_REQUEST}:
            raise ConfigurationError(f"Prefect refuses the request: {detail}")
        busy = answer.status_code in {httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.TOO_MANY_REQUESTS}
        kind = _BusyError if busy else StackError
        raise kind(f"Prefect at {self._client.base_url} answered {answer.status_code}: {detail}")


@contextmanager
def open_runs(settings: Settings) -> Iterator[Runs]:
    """Flow runs of the running stack's Prefect.

    Raises:
        StackError: no stack runs in this home.
    """
    if not settings.prefect_api_url:
        raise StackError(f"expected a running stack in {settings.home}, found none: start it with `drover up`")
    with httpx.Client(
        base_url=settings.prefect_api_url, auth=basic_auth(settings.prefect_auth), timeout=_TIMEOUT_S, trust_env=False
    ) as client:
        yield Runs(client)


def _run(document: Mapping[str, Any]) -> Run:
    state = document.get("state") or {}
    return Run(
        id=str(document["id"]),
        name=str(document["name"]),
        state=str(state.get("type") or "PENDING"),
        title=str(state.get("name") or "Pending"),
        message=_message(str(state.get("message") or "")),
        begun=_time_of(document.get("start_time")),
        seconds=float(document.get("estimated_run_time") or 0.0),
    )


def _stage(document: Mapping[str, Any]) -> Stage:
    state = document.get("state") or {}
    named = [tag.removeprefix(_STAGE_TAG) for tag in document.get("tags", ()) if tag.startswith(_STAGE_TAG)]
    return Stage(
        id=str(document["id"]),
        name=named[0] if named else str(document["name"]),
        state=str(state.get("type") or "PENDING"),
        message=_message(str(state.get("message") or "")),
        seconds=float(document.get("estimated_run_time") or 0.0),
    )


def _line(document: Mapping[str, Any]) -> LogLine:
    at = _time_of(document["timestamp"])
    assert at is not None
    return LogLine(str(document["id"]), at, int(document["level"]), str(document["message"]))


def _time_of(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def _message(text: str) -> str:
    """A state's message without Prefect's introduction, and without the names of Drover's own errors."""
    found = _PREFIX.match(text)
    assert found is not None
    kind = found["kind"]
    ours = kind is not None and isinstance(getattr(errors, kind, None), type)
    return text[found.end() if ours or kind is None else found.start("kind") :]


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:500] or answer.reason_phrase
