"""Who records what, and when: the collection plan of a simulated fleet, as pure data."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from components.contracts.errors import ConfigurationError
from components.episodes import SCENARIOS, make_name

from ._scenario import Distance, Pattern, Scenario, sample_scenario

EPISODES_A_SESSION = 4
MAX_EPISODES = 100_000
_MAX_SEED = 9_999
_SESSIONS_A_DAY = 6
_FIRST_DAY = datetime(2025, 8, 15, 8, 30, tzinfo=UTC)
_HALVES = ((0, 3, 5, 6), (1, 2, 4, 7))  # of the scenarios: in each, every word of a scenario's name occurs as often
_DISTANCES: tuple[Distance, ...] = ("close", "medium", "far")
_DISTANCE_SHARES = (20 / 72, 32 / 72, 20 / 72)  # as operators drove them


@dataclass(frozen=True)
class PlannedEpisode:
    """One episode to record. Pure data: its room is `scenario()`."""

    index: int
    robot: str
    session: str
    scenario_name: str
    pattern: Pattern
    distance: Distance
    seed: int
    recorded_at: datetime

    @property
    def name(self) -> str:
        """`episode_YYYYMMDD_HHMMSS_<scenario>_<pattern>_<distance>`."""
        return make_name(self.recorded_at, self.scenario_name, self.pattern, self.distance)

    def scenario(self) -> Scenario:
        return sample_scenario(self.scenario_name, self.seed, pattern=self.pattern, distance=self.distance)


def plan_fleet(robots: int, episodes: int, *, seed: int = 0) -> tuple[PlannedEpisode, ...]:
    """Sessions of four episodes, dealt to the robots in turn. Two sessions that follow each other on a robot cover the
    eight scenarios; two thirds of each scenario's episodes are `core`. Sessions never overlap, so names are unique.

    Raises:
        ConfigurationError: no robot, no episode, or a number out of range.
    """
    if not (1 <= robots <= 1000 and 1 <= episodes <= MAX_EPISODES and 0 <= seed <= _MAX_SEED):
        raise ConfigurationError(
            f"expected 1..1000 robots, 1..{MAX_EPISODES} episodes and a seed of 0..{_MAX_SEED}, "
            f"got {robots}, {episodes} and {seed}"
        )
    planned = []
    driven = dict.fromkeys(SCENARIOS, 0)
    # Another seed's fleet recorded on other days, so that the names of two fleets differ too.
    first_day = _FIRST_DAY - timedelta(days=(seed * 5) % 300)
    for index in range(episodes):
        session, place = divmod(index, EPISODES_A_SESSION)
        rng = np.random.default_rng([seed, index, 3])
        half = _HALVES[(session // robots + session % robots) % 2]
        scenario = SCENARIOS[half[place]]
        day, slot = divmod(session, _SESSIONS_A_DAY)
        began = first_day + timedelta(days=day, minutes=75 * slot + int(rng.integers(3)), seconds=int(rng.integers(60)))
        planned.append(
            PlannedEpisode(
                index=index,
                robot=f"robot-{session % robots + 1}",
                session=f"{first_day + timedelta(days=day):%Y%m%d}-{slot + 1}",
                scenario_name=scenario,
                pattern="variant" if driven[scenario] % 3 == 2 else "core",
                distance=_DISTANCES[rng.choice(3, p=_DISTANCE_SHARES)],
                seed=seed * MAX_EPISODES + index,
                recorded_at=began + timedelta(minutes=6 * place),
            )
        )
        driven[scenario] += 1
    return tuple(planned)
