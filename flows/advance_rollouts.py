"""One step of every open rollout: read what robots report; go on, wait, halt or roll back."""

import time

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from components.contracts import RolloutState

from . import _artifacts as artifacts
from . import _tasks as tasks

_POLL_S = 2.0


@flow(name="advance-rollouts", persist_result=False)
def advance_rollouts(until_settled_s: float = 0.0) -> State[list[RolloutState]]:
    """Take one step, or keep stepping for `until_settled_s` seconds while a rollout is running.

    The schedule calls it with 0: a step takes no longer than reading the new reports.
    """
    deadline = time.monotonic() + until_settled_s
    states = tasks.advance_rollouts()
    while any(state.status == "running" for state in states) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        states = tasks.advance_rollouts()
    artifacts.show_rollouts(states)
    words = [f"{state.plan.deployment}: {state.status} ({state.reason})" for state in states]
    return Completed(message="; ".join(words) or "no rollout is open", data=states)


if __name__ == "__main__":
    advance_rollouts()
