"""`ray start ...` without the Ray Client's server. `python -m infra._ray_head start --head ...`

Nobody here uses it (flows and trainings run on this machine), Ray starts it wherever its dependencies are installed, no
option says no, and where it gives up on a busy machine (it waits 30 s for the node) it takes the whole of Ray with it.
"""

from ray.scripts import scripts

if __name__ == "__main__":
    scripts.get_ray_client_dependency_error = lambda: "not wanted"
    scripts.main()
