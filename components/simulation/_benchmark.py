"""How fast the camera is on this machine."""

import time

from ._camera import CAMERA_HEIGHT, CAMERA_WIDTH, Camera, warm_up
from ._scenario import sample_scenario


def camera_rate(
    *, width: int = CAMERA_WIDTH, height: int = CAMERA_HEIGHT, samples: int = 1, threads: int = 2, seconds: float = 2.0
) -> float:
    """Frames/s of the camera, shadows and textures on, over the eight kinds of floor and obstacle it meets most.

    Compiling is not counted. Textures and rooms are made beforehand, as an episode makes them once.

    Args:
        width, height, samples: of the picture, as for `Camera`. 80x45 with 4 is what closed-loop trials see.
        threads: of the camera.
        seconds: how long to measure.
    """
    warm_up()
    names = ("1box_vert_left", "1box_hori_right", "2box_vert_right", "2box_hori_left")
    cameras = [
        Camera(sample_scenario(name, seed), width=width, height=height, samples=samples, threads=threads)
        for seed, name in enumerate(names)
    ]
    frames, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        cameras[frames % len(cameras)].render((0.08 * (frames % 20), 0.02 * (frames % 30), 0.01 * (frames % 7)))
        frames += 1
    for camera in cameras:
        camera.close()
    return frames / elapsed
