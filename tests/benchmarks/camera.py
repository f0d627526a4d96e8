"""The simulated robot's camera, a whole shaded frame, against MuJoCo's own rays alone."""

import mujoco
import numpy as np

from components.simulation import Body, Camera, sample_scenario, warm_up
from components.simulation._body import _model_xml
from tests.benchmarks.paired import Row, paired

WIDTH, HEIGHT = 640, 360


def measure() -> list[Row]:
    """640x360, one thread. The peer finds what each pixel's ray meets and shades nothing."""
    warm_up()
    scenario = sample_scenario("2box_vert_left", 3)
    pose = Body(scenario).pose
    camera = Camera(scenario, width=WIDTH, height=HEIGHT, threads=1)
    model = mujoco.MjModel.from_xml_string(_model_xml(scenario))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    columns, rows = np.meshgrid(np.linspace(-0.9, 0.9, WIDTH), np.linspace(0.3, -0.7, HEIGHT))
    rays = np.stack([np.ones_like(columns), columns, rows], axis=-1).reshape(-1, 3)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    count = len(rays)
    hit, distance = np.zeros(count, np.int32), np.zeros(count)
    eye = np.array([0.14, 0.0, 0.5])

    def cast() -> None:
        mujoco.mj_multiRay(model, data, eye, rays.reshape(-1), None, 1, -1, hit, distance, None, count, 50.0)

    seconds, ratio = paired(lambda: camera.render(pose), cast)
    camera.close()
    return [
        {
            "name": "camera frame 640x360, shaded, shadows",
            "value": seconds * 1000,
            "unit": "ms",
            "peer": "mujoco.mj_multiRay, hits only",
            "ratio": ratio,
            "goal": 1.0,
        }
    ]
