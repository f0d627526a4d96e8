"""onnxruntime behind two functions: open a verified graph, and say where its nodes really ran."""

import json
import tempfile
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from components.contracts import TensorSpec
from components.contracts.errors import ConfigurationError, PackageError

CPU = "CPUExecutionProvider"

_ORT_TYPES = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(uint8)": "uint8"}


def open_graph(
    name: str,
    data: bytes,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    *,
    provider: str,
    threads: int,
    profile: Path | None = None,
) -> Any:
    """An `onnxruntime.InferenceSession` over bytes that were verified.

    Raises:
        ConfigurationError: the provider is not installed, or onnxruntime fell back to another one.
        PackageError: onnxruntime cannot load the graph, or its inputs or outputs are not the manifest's.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise ConfigurationError(f"expected the execution provider {provider}, this onnxruntime has {available}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a robot has other things to do
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile / name)
    options.add_session_config_entry("session.load_model_format", "ONNX")  # never guessed from the bytes
    try:
        with tempfile.TemporaryDirectory(prefix="drover-empty-") as empty:  # files that a graph names are not there
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", empty)
            session = onnxruntime.InferenceSession(data, options, providers=[provider])
    except Exception as error:  # noqa: BLE001  onnxruntime's errors share no base below Exception
        raise PackageError(f"{name} cannot be loaded by onnxruntime {onnxruntime.__version__}: {error}") from None
    ran = session.get_providers()
    if ran[0] != provider:
        raise ConfigurationError(
            f"expected {name} on {provider}, onnxruntime fell back to {ran}; see its log for the library that is "
            "missing, or ask for that provider by name"
        )
    _check_tensors(name, "inputs", session.get_inputs(), inputs)
    _check_tensors(name, "outputs", session.get_outputs(), outputs)
    return session


def run_graph(session: Any, outputs: tuple[TensorSpec, ...], feeds: dict[str, Any]) -> list[NDArray[Any]]:
    """Outputs in the order of `outputs`."""
    values: list[NDArray[Any]] = session.run([spec.name for spec in outputs], feeds)
    return values


def nodes_by_provider(session: Any) -> dict[str, int]:
    """End a profiled session: execution provider -> nodes that ran there."""
    path = Path(session.end_profiling())
    events = json.loads(path.read_text())
    placed: dict[str, set[str]] = {}
    for event in events:
        where = event.get("args", {}).get("provider")
        if event.get("cat") == "Node" and where:
            placed.setdefault(where, set()).add(event["name"])
    return {where: len(names) for where, names in sorted(placed.items())}


def profiling_folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="drover-profile-")


def _check_tensors(name: str, side: str, found: list[Any], expected: tuple[TensorSpec, ...]) -> None:
    """Names, types and shapes; 0 stands for the batch, which must be free."""
    actual = {}
    for item in found:
        shape = tuple(size if isinstance(size, int) else 0 for size in item.shape)
        actual[item.name] = (_ORT_TYPES.get(item.type, item.type), shape)
    wanted = {spec.name: (spec.dtype, spec.shape) for spec in expected}
    if actual != wanted:
        raise PackageError(f"{name}: expected the {side} {wanted} as the manifest says, found {actual}")
