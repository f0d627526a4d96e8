"""What a robot is: a release that failed here is barred from this fingerprint, not from the fleet."""

import hashlib
import importlib.metadata
import platform
import re
from pathlib import Path

from components.contracts import Frozen, canonical_json


class Fingerprint(Frozen):
    """Change any of these and a quarantined release may be tried again."""

    module: str
    """Hardware id, e.g. "jetson-orin-nx-16gb", "simulated"."""
    sm: str = ""
    """GPU architecture, e.g. "8.7"."""
    l4t: str = ""
    """Jetson Linux, e.g. "36.4"."""
    tensorrt: str = ""
    onnxruntime: str = ""
    power_mode: str = ""
    driver: str = ""
    """The GPU driver's own version, where it tells."""

    def digest(self) -> str:
        """Without a driver as before there was such a field: what is quarantined stays so."""
        known = self.model_dump(mode="json", exclude=None if self.driver else {"driver"})
        return hashlib.sha256(canonical_json(known)).hexdigest()


def read_fingerprint(module: str | None = None) -> Fingerprint:
    """Ask this machine.

    Args:
        module: hardware id of a robot that cannot tell, such as a simulated one; None reads the device tree.
    """
    model = _text(Path("/proc/device-tree/model")).rstrip("\0")
    l4t = re.search(r"R(\d+).*REVISION: (\d+)", _text(Path("/etc/nv_tegra_release")))
    return Fingerprint(
        module=module or _hardware_id(model) or f"generic-{platform.machine()}",
        sm="8.7" if "Orin" in model else "",
        l4t=f"{l4t[1]}.{l4t[2]}" if l4t else "",
        tensorrt=_version("tensorrt"),
        onnxruntime=_version("onnxruntime-gpu") or _version("onnxruntime"),
        power_mode=(_text(Path("/etc/nvpmodel.status")) or _text(Path("/var/lib/nvpmodel/status"))).strip(),
        driver=_driver(_text(Path("/proc/driver/nvidia/version"))),
    )


def _hardware_id(model: str) -> str:
    """ "NVIDIA Jetson Orin NX Engineering Reference Developer Kit" -> "jetson-orin-nx-16gb"; "" if it is no Jetson."""
    found = re.search(r"Jetson (AGX Orin|Orin NX|Orin Nano)", model)
    if not found:
        return ""
    gib = round(_total_kib() / 2**20)
    size = next((step for step in (4, 8, 16, 32, 64) if gib <= step), 64)
    return f"jetson-{found[1].lower().replace(' ', '-')}-{size}gb"


def _driver(text: str) -> str:
    """ "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue ..." -> "550.54.15"."""
    found = re.search(r"Kernel Module\S*\s+(?:for \S+\s+)?([0-9]+(?:\.[0-9]+)+)", text)
    return found[1] if found else ""


def _total_kib() -> int:
    found = re.search(r"MemTotal:\s+(\d+)", _text(Path("/proc/meminfo")))
    return int(found[1]) if found else 0


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
