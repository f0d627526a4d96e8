"""A CycloneDX bill of materials, written by hand: a dozen components need no library."""

import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from components.contracts import PackageManifest, canonical_json

AT_RUN_TIME = ("numpy", "onnxruntime-gpu", "pillow", "pydantic", "safetensors")
"""Distributions that load a package on a robot."""
AT_BUILD_TIME = ("onnx", "onnxscript", "torch")
"""Distributions that made it."""


def bill_of_materials(manifest: PackageManifest, weights: dict[str, str]) -> bytes:
    """CycloneDX 1.5 JSON. No serial number and no time: the same package has the same bill.

    Args:
        manifest: of the package, `files` without the bill itself.
        weights: member -> SHA-256 of its trained weights.
    """
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": "policy",
        "name": manifest.policy,
        "version": manifest.subject or "unknown",
    }
    components: list[dict[str, Any]] = [
        {"type": "machine-learning-model", "bom-ref": f"member:{name}", "name": name, "hashes": _sha256(digest)}
        for name, digest in sorted(weights.items())
    ]
    components += [
        {"type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": _sha256(digest)}
        for name, digest in sorted(manifest.files.items())
    ]
    components.append(
        {"type": "data", "bom-ref": "dataset", "name": "dataset", "hashes": _sha256(manifest.dataset)},
    )
    components += [*_libraries(AT_RUN_TIME, "required"), *_libraries(AT_BUILD_TIME, "excluded")]
    depends = sorted(item["bom-ref"] for item in components)
    return canonical_json(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {"component": model},
            "components": components,
            "dependencies": [{"ref": "policy", "dependsOn": depends}],
        }
    )


def _libraries(names: tuple[str, ...], scope: str) -> list[dict[str, Any]]:
    found = []
    for name in names:
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue  # another wheel of the same library, as on a Jetson or a Mac
        purl = f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{installed}"
        found.append(
            {"type": "library", "bom-ref": purl, "purl": purl, "name": name, "version": installed, "scope": scope}
        )
    return found


def _sha256(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]
