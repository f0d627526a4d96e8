"""Frozen documents: closed, canonical, and clear about what is wrong."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contracts import DatasetSpec, Ensemble, Estimate, ObjectRef, canonical_json, errors


def test_equal_documents_have_equal_digests_whatever_the_order_of_their_fields() -> None:
    first = DatasetSpec(seed=3, split_by="contiguous")
    second = DatasetSpec.parse(json.dumps({"split_by": "contiguous", "seed": 3}), source="a test")

    assert first.digest() == second.digest()
    assert first.digest() != DatasetSpec(seed=4, split_by="contiguous").digest()


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
def test_canonical_json_reads_back_as_the_same_value(value: dict[str, object]) -> None:
    assert json.loads(canonical_json(value)) == value


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ("{", "Invalid JSON"),
        ('{"seed": "many"}', "seed"),
        ('{"sead": 1}', "sead"),
        ('{"frame": {"width": 4, "height": 45}}', "frame.width"),
    ],
)
def test_an_invalid_document_is_refused_by_its_source_and_field(document: str, fault: str) -> None:
    with pytest.raises(errors.InvalidDocumentError, match=fault) as caught:
        DatasetSpec.parse(document, source="inbox/spec.json")
    assert "inbox/spec.json is not a valid DatasetSpec" in str(caught.value)


def test_nan_is_no_figure() -> None:
    with pytest.raises(ValueError, match="finite number"):
        Estimate(value=float("nan"), low=0, high=1, n=3, method="wilson")


def test_an_interval_that_does_not_hold_its_value_is_refused() -> None:
    with pytest.raises(ValueError, match="does not hold"):
        Estimate(value=0.9, low=0.1, high=0.2, n=3, method="wilson")


def test_weights_that_are_not_convex_are_refused() -> None:
    fields = {"members": [], "weights": [0.5], "dataset": "0" * 64}
    with pytest.raises(ValueError, match="members"):
        Ensemble.model_validate(fields | {"validation_loss": 0, "validation_loss_held_out": 0})


def test_a_reference_tells_bucket_and_key() -> None:
    ref = ObjectRef(uri="s3://models/policies/a.safetensors", sha256="0" * 64, size=1)

    assert (ref.bucket, ref.key) == ("models", "policies/a.safetensors")
