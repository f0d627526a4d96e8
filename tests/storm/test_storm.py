"""Every episode that a robot promised arrives once, whoever is killed.

`DROVER_STORM_EPISODES=10000 python -m pytest tests/storm` is the long one.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.storm.storm import planned, storm

pytestmark = pytest.mark.long

EPISODES = int(os.environ.get("DROVER_STORM_EPISODES", "500"))
ROBOTS = int(os.environ.get("DROVER_STORM_ROBOTS", "20"))
KILLS = int(os.environ.get("DROVER_STORM_KILLS", str(max(10, EPISODES // 25))))
SEED = int(os.environ.get("DROVER_STORM_SEED", "0"))
DEADLINE_S = 120 + EPISODES


@pytest.mark.slow
@pytest.mark.timeout(DEADLINE_S + 120)
def test_storm_of_kills_leaves_every_episode_exactly_once(tmp_path: Path) -> None:
    outcome = storm(tmp_path, robots=ROBOTS, episodes=EPISODES, kills=KILLS, seed=SEED, deadline_s=DEADLINE_S)

    found = Counter((record.summary.robot, record.summary.name) for record in outcome.records)
    assert found == Counter(planned(ROBOTS, EPISODES))
    assert outcome.quarantined == []
    assert outcome.left_in_spools == []
    assert outcome.left_in_inbox == []
    assert outcome.damaged == []
    assert set(outcome.kills) == {"robot", "ingest", "gateway", "store"}
    assert outcome.kills.total() >= KILLS // 2
