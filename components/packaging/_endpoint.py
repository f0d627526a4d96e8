"""The served endpoint, timed from outside."""

import time
from collections.abc import Sequence
from pathlib import Path

import httpx
from pydantic import SecretStr

from components.contracts import Latency
from components.contracts.errors import PackageError, PolicyError
from components.robot import hardware_name, percentiles, read_verified, verify_package


def golden_request(folder: Path) -> tuple[list[bytes], str]:
    """What to ask a served package with: its golden JPEGs, as large as the camera's, and their instruction.

    Args:
        folder: of a package, e.g. what `serve_package` returned.

    Raises:
        PackageError: the folder is no whole package.
    """
    manifest = verify_package(folder).manifest
    if not manifest.golden:
        raise PackageError(f"{folder}: expected golden episodes in the manifest, found none; package it again")
    episode = manifest.golden[0]
    return [read_verified(folder, manifest, name) for name in episode.jpegs], episode.instruction


def measure_endpoint(
    url: str, jpegs: Sequence[bytes], instruction: str, *, token: SecretStr | None = None, n: int = 100
) -> Latency:
    """POST `n` frames one after another to `<url>/act` and time each from request to answer.

    The network between is part of it; five requests that do not count go first. The session is thrown away afterwards
    by the server, by age.

    Args:
        url: of the Bento, e.g. http://127.0.0.1:3000.
        jpegs: camera frames, sent in turn; small ones make an endpoint look fast (`golden_request`).
        instruction: one that the served policy knows.
        token: the Bento's (`Settings.serving_token`).
        n: timed requests.

    Raises:
        PolicyError: the endpoint cannot be reached, or answers with an error.
    """
    times, provider = [], "unknown"
    data = {"instruction": instruction, "session": "measure-endpoint", "reset": "true"}
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
    try:
        with httpx.Client(base_url=url, timeout=30, trust_env=False, headers=headers) as client:
            for index in range(-5, n):
                started = time.perf_counter()
                image = {"image": ("frame.jpg", jpegs[index % len(jpegs)], "image/jpeg")}
                answer = client.post("/act", files=image, data=data)
                if index >= 0:
                    times.append((time.perf_counter() - started) * 1000)
                answer.raise_for_status()
                provider = answer.json()["provider"]
                data = data | {"reset": "false"}
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise PolicyError(f"{url}/act does not answer as a policy does: {error}; see `drover status`") from None
    p50, p95, p99 = percentiles(times)
    return Latency(p50_ms=p50, p95_ms=p95, p99_ms=p99, n=n, hardware=hardware_name(), provider=provider)
