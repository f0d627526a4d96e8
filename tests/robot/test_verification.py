"""A package folder that is not what its manifest says is refused before anything of it is loaded."""

import io
import os
import pickle

import onnx
import pytest
import torch

from components.contracts.errors import PackageError
from components.robot import Runtime, read_verified, self_test, verify_package
from tests.packaging.made import change, made_once


@pytest.fixture
def folder(tmp_path):
    return made_once().copy(tmp_path / "package")


def test_whole_package_is_verified_under_its_name(folder):
    verified = verify_package(folder, sha256=made_once().package.sha256)

    assert verified.sha256 == made_once().package.sha256


@pytest.mark.parametrize("name", ["encode.onnx", "step.onnx", "golden.safetensors", "golden-0-0.jpg", "sbom.cdx.json"])
def test_one_flipped_bit_is_refused(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)

    with pytest.raises(PackageError, match=rf"{name}: expected SHA-256 .* altered"):
        Runtime(folder)


def test_truncated_file_is_refused(folder):
    os.truncate(folder / "encode.onnx", 1000)

    with pytest.raises(PackageError, match="truncated"):
        Runtime(folder)


def test_grown_file_is_not_read_to_its_end(folder):
    with (folder / "step.onnx").open("ab") as file:
        file.truncate(2**40)  # sparse

    with pytest.raises(PackageError, match="expected at most"):
        Runtime(folder)


def test_missing_file_is_refused(folder):
    (folder / "step.onnx").unlink()

    with pytest.raises(PackageError, match=r"step\.onnx is missing"):
        Runtime(folder)


def test_extra_file_is_refused(folder):
    (folder / "extra.onnx").write_bytes(b"\x08")

    with pytest.raises(PackageError, match=r"extra\.onnx is not in the manifest"):
        Runtime(folder)


def test_linked_file_is_refused(folder, tmp_path):
    (folder / "step.onnx").rename(tmp_path / "elsewhere.onnx")
    (folder / "step.onnx").symlink_to(tmp_path / "elsewhere.onnx")

    with pytest.raises(PackageError, match="expected a plain file"):
        Runtime(folder)


def test_manifest_of_another_name_is_refused(folder):
    change(folder, policy="another")

    with pytest.raises(PackageError, match="expected SHA-256"):
        Runtime(folder, sha256=made_once().package.sha256)


@pytest.mark.parametrize("document", [b"", b"{}", b"[1]", b"\xff\xfe", b"{" * 10_000, b" " * (2**20 + 1)])
def test_manifest_that_is_none_is_refused(folder, document):
    (folder / "manifest.json").write_bytes(document)

    with pytest.raises(PackageError):
        Runtime(folder)


def test_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(PackageError, match="cannot be read"):
        Runtime(tmp_path)


def test_pickle_beside_the_weights_is_refused_although_it_is_listed(folder):
    change(folder, files={"weights.pkl": pickle.dumps({"weights": [1.0]})})

    with pytest.raises(PackageError, match="no file that a package may hold"):
        Runtime(folder)


def saved_by_torch() -> bytes:
    file = io.BytesIO()
    torch.save({"weights": torch.zeros(1)}, file)
    return file.getvalue()


@pytest.mark.parametrize("data", [pickle.dumps({"weights": [1.0]}), saved_by_torch(), b"\x7fELF\x02"])
@pytest.mark.parametrize("name", ["encode.onnx", "golden.safetensors"])
def test_pickle_or_program_where_weights_belong_is_refused(folder, name, data):
    change(folder, files={name: data})

    with pytest.raises(PackageError, match="refused"):
        Runtime(folder)


@pytest.mark.parametrize("name", ["../step.onnx", "a/b.onnx", "STEP.onnx", ".hidden.json", "manifest.json"])
def test_file_name_that_leaves_the_folder_is_refused(folder, name):
    manifest = verify_package(folder).manifest
    listing = {"files": manifest.files | {name: "0" * 64}, "sizes": manifest.sizes | {name: 1}}
    (folder / "manifest.json").write_bytes(manifest.model_copy(update=listing).canonical_json())

    with pytest.raises(PackageError, match="no file that a package may hold"):
        verify_package(folder)


def test_graph_that_reads_another_file_is_refused(folder):
    model = onnx.load(folder / "encode.onnx")
    tensor = max(model.graph.initializer, key=lambda item: len(item.raw_data))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    change(folder, files={"encode.onnx": model.SerializeToString()})

    with pytest.raises(PackageError, match="reads a tensor from another file"):
        Runtime(folder)


def test_noise_instead_of_a_graph_is_refused(folder):
    change(folder, files={"encode.onnx": b"\x08" + os.urandom(500)})

    with pytest.raises(PackageError, match=r"encode\.onnx: expected a plain ONNX model"):
        Runtime(folder)


def test_graph_that_onnxruntime_cannot_load_is_refused(folder):
    change(folder, files={"encode.onnx": b"\x08\x0a"})

    with pytest.raises(PackageError, match="cannot be loaded by onnxruntime"):
        Runtime(folder)


def test_graph_with_other_inputs_than_the_manifest_is_refused(folder):
    change(folder, files={"step.onnx": (folder / "encode.onnx").read_bytes()})

    with pytest.raises(PackageError, match="expected the inputs"):
        Runtime(folder)


def test_manifest_that_forgets_the_frame_size_is_refused(folder):
    change(folder, frame={"width": 160, "height": 90})

    with pytest.raises(PackageError, match="expected an image of"):
        Runtime(folder)


def test_file_that_is_not_listed_cannot_be_read(folder):
    with pytest.raises(PackageError, match=r"expected secrets\.json in the package"):
        read_verified(folder, verify_package(folder).manifest, "secrets.json")


def test_refused_package_fails_its_self_test_without_raising(folder):
    (folder / "step.onnx").unlink()

    result = self_test(folder)

    assert not result.passed
    assert result.package is None
    assert "step.onnx is missing" in result.failures[0]
