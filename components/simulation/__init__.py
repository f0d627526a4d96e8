"""The simulated robot and its room: demonstrations, closed-loop trials, a fleet of processes, and bad uploads.

A room is seeded data (`sample_scenario`). MuJoCo moves the base and finds its contacts; a ray caster draws what the
front camera sees; a scripted operator drives by the robots' keys. `simulate_fleet` records and uploads with the robots'
own software. On a `Track`, drivers meet the same rooms, as they are or under one of the `SHIFTS`, and the operator is
recorded as a policy would have seen it.

What is not covered: reality. Success here is no success of a real robot: textures are drawn, light is one sun without
bounces, the lens is ideal and without noise, nobody walks through the room, and the base slips a little at random.
Frames are the same bits from run to run on one machine, and may differ in the last bit between processors. The cup's
place, the boxes' and their sizes are drawn from narrow ranges, and the room is always as large. Each shift changes one
thing at one strength: not two at once, no other room, and nothing that moves. Standing still counts as a press.
"""

from ._bad_episodes import BAD_EPISODES, plant_bad_episodes, write_bad_episodes
from ._benchmark import camera_rate
from ._body import REACH, ROBOT_RADIUS, Body, Motion, Outcome
from ._camera import CAMERA_HEIGHT, CAMERA_WIDTH, RENDERER, Camera, Mount, warm_up
from ._demonstration import PRESSES, Demonstration, DrivenFrame
from ._expert import Expert, shortest_path
from ._fleet import FleetEvent, FleetReport, simulate_fleet
from ._on_trial import drive_package
from ._plan import EPISODES_A_SESSION, PlannedEpisode, plan_fleet
from ._record import RecordedRoom, replay
from ._scenario import POSITIONS, ROOM, Box, Look, Scenario, sample_scenario
from ._shifts import NO_SHIFT, SHIFTS, Shift, shift_named
from ._track import SIMULATOR, Driver, Track, record_expert
from ._trials import MAX_PRESSES, Recital, Room, drive_trials, trial_camera, trial_rooms

__all__ = [
    "BAD_EPISODES", "CAMERA_HEIGHT", "CAMERA_WIDTH", "EPISODES_A_SESSION", "MAX_PRESSES", "NO_SHIFT", "POSITIONS",
    "PRESSES", "REACH", "RENDERER", "ROBOT_RADIUS", "ROOM", "SHIFTS", "SIMULATOR",
    "Body", "Box", "Camera", "Demonstration", "DrivenFrame", "Driver", "Expert", "FleetEvent", "FleetReport", "Look",
    "Motion", "Mount", "Outcome", "PlannedEpisode", "Recital", "RecordedRoom", "Room", "Scenario", "Shift", "Track",
    "camera_rate", "drive_package", "drive_trials", "plan_fleet", "plant_bad_episodes", "record_expert", "replay",
    "sample_scenario", "shift_named", "shortest_path", "simulate_fleet", "trial_camera", "trial_rooms", "warm_up",
    "write_bad_episodes",
]  # fmt: skip
