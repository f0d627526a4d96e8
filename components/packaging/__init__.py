"""From a trained policy to the package that a robot downloads: graphs, golden outputs, parity, bill of materials.

`package` makes and keeps one, `download_package` brings it into a folder and verifies it, `serve_package` hands it to
the Bento, `measure_endpoint` times the Bento.

What is not covered: FP16 and INT8 variants; memory is judged by the robot's self-test alone; the latency in a package
is that of the machine that packaged it. The same bytes come out on one kind of machine: golden outputs and parity hold
a processor's last bits.
"""

from ._endpoint import golden_request, measure_endpoint
from ._package import package
from ._store import download_package, serve_package

__all__ = ["download_package", "golden_request", "measure_endpoint", "package", "serve_package"]
