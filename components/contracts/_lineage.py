"""What this process is made of: code revision, Python, libraries, machine."""

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from ._refs import Lineage

_ROOT = Path(__file__).resolve().parents[2]
_GIT_TIMEOUT_S = 10
_CPUINFO = Path("/proc/cpuinfo")
_VECTORS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve")
"""Instructions by which torch, oneDNN and MKL choose their kernels."""


@functools.cache
def describe_lineage(packages: tuple[str, ...]) -> Lineage:
    """The lineage of a result that this process makes with `packages` (names of distributions).

    Names no host and no user. A package that is not installed is left out. Cached: one process, one answer.
    """
    versions: dict[str, str] = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Lineage(
        code_revision=_revision(),
        python=platform.python_version(),
        packages=versions,
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs{_processor()}",
    )


def _processor() -> str:
    """What decides which kernels add up numbers, and in which order: the processor's model and its vector
    instructions. Empty where the system does not say."""
    try:
        lines = _CPUINFO.read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return ""
    found = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    named = [found.get("model name", "")]
    named += [f"{name} {found[name]}" for name in ("cpu family", "model", "stepping") if name in found]
    flags = set((found.get("flags") or found.get("Features") or "").split())
    named.append(" ".join(flag for flag in _VECTORS if flag in flags))
    told = " ".join(part for part in named if part)
    return f", {told}" if told else ""


def _revision() -> str:
    """Git commit of the tree that this file lies in; the version where that is no checkout of Drover."""
    top = _git("rev-parse", "--show-toplevel")
    commit = _git("rev-parse", "HEAD")
    if top is None or commit is None or Path(top).resolve() != _ROOT:
        try:
            return f"drover {importlib.metadata.version('drover')}"
        except importlib.metadata.PackageNotFoundError:
            return "unknown"
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}+dirty" if changed is None or changed else commit


def _git(*arguments: str) -> str | None:
    """None where git is not there, does not answer in time, or fails."""
    command = ["git", "-C", str(_ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
