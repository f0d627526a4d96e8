import pytest

from bentos.policy._sessions import Sessions
from components.contracts.errors import PolicyError
from components.robot import Runtime
from tests.packaging.made import LEFT, RIGHT


@pytest.fixture(scope="module")
def runtime(made):
    return Runtime(made.folder)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def seen(sessions, name, instruction=LEFT):
    with sessions.episode(name, instruction, reset=False) as session:
        session.frames += 1
        return session.frames


def test_least_recently_used_session_is_forgotten_first(runtime):
    sessions = Sessions(runtime, most=2)

    for name in ("a", "b", "a", "c"):
        seen(sessions, name)

    assert len(sessions) == 2
    assert seen(sessions, "a") == 3
    assert seen(sessions, "b") == 1


def test_old_session_is_forgotten(runtime):
    clock = Clock()
    sessions = Sessions(runtime, ttl_s=10, clock=clock)
    seen(sessions, "a")
    clock.now = 9
    assert seen(sessions, "a") == 2
    clock.now = 20

    assert seen(sessions, "a") == 1


def test_refused_instruction_leaves_the_session_as_it_was(runtime):
    sessions = Sessions(runtime)
    seen(sessions, "a")

    with pytest.raises(PolicyError), sessions.episode("a", "xyzzy", reset=False):
        pytest.fail("an episode began")
    assert seen(sessions, "a") == 2
    assert seen(sessions, "a", RIGHT) == 1
