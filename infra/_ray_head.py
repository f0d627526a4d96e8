"""`ray start ...` without the Ray Client's server, and patient. `python -m infra._ray_head start --head ...`

Nobody here uses the server (flows and trainings run on this machine), Ray starts it wherever its dependencies are
installed, no option says no, and where it gives up on a busy machine (it waits 30 s for the node) it takes the whole of
Ray with it. The head itself gives its node the same 30 s, and no option gives it more.
"""

from ray._private import services
from ray.scripts import scripts
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

if __name__ == "__main__":
    scripts.get_ray_client_dependency_error = lambda: "not wanted"
    until_it_is_there = retry(
        retry=retry_if_exception_type(RuntimeError), stop=stop_after_delay(120), wait=wait_fixed(0.5), reraise=True
    )
    services.get_node = until_it_is_there(services.get_node)
    scripts.main()
