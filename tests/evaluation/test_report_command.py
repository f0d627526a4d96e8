"""`drover report`, `compare` and `leaderboard` on kept reports; the document and its published schema."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from components import storage
from components.cli import app
from components.contracts import EvaluationReport
from components.contracts.errors import ConfigurationError, EvidenceError, IntegrityError
from components.evaluation import keep_report
from tests.evaluation.sample_report import ensemble, full_report
from tests.stores import running

SCHEMA = Path(__file__).parents[2] / "docs" / "evaluation.schema.json"
PAGE = b"<!doctype html><p>a page"
BEST = full_report(incumbent=ensemble(1))
WORSE = full_report(seed=1, error=0.3, drives=False)
ELSEWHERE = full_report(seed=2, dataset="e" * 64, drives=False)
pytestmark = [pytest.mark.s3, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A store with two reports on one dataset and one on another; the newest is the best."""
    with running("seaweedfs", tmp_path_factory.mktemp("served")) as server:
        for report in (WORSE, ELSEWHERE, BEST):
            keep_report(storage.connect(server.settings), report, PAGE)
        yield server.settings


@pytest.fixture
def drover(served, tmp_path, monkeypatch):
    """Runs a command over that store."""
    monkeypatch.setenv("DROVER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DROVER_S3_ENDPOINT", served.s3_endpoint)
    monkeypatch.setenv("DROVER_S3_KEY", served.s3_key)
    monkeypatch.setenv("DROVER_S3_SECRET", served.s3_secret.get_secret_value())
    monkeypatch.setenv("DROVER_PAGES_URL", "http://127.0.0.1")
    return lambda *words: CliRunner().invoke(app, list(words), catch_exceptions=False, env={"COLUMNS": "240"})


def test_the_published_schema_is_the_reports():
    """Written by `drover report --schema > docs/evaluation.schema.json`."""
    assert json.loads(SCHEMA.read_text()) == EvaluationReport.model_json_schema()


def test_schema_option_prints_the_published_file(drover):
    assert drover("report", "--schema").stdout == SCHEMA.read_text()


def test_stored_document_fits_the_published_schema_and_a_bare_figure_does_not():
    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    document = json.loads(BEST.canonical_json())
    validator.validate(document)
    del document["metrics"][0]["figures"]["ensemble"]["low"]
    assert not validator.is_valid(document)


def test_report_tells_verdict_figures_with_intervals_and_its_page(drover):
    shown = drover("report", BEST.digest()[:8]).stdout
    assert "ensemble beats all four baselines" in shown
    assert "0.090 [0.070, 0.110]" in shown
    for title in ("Leaderboard, n=16 episodes simulated", "Closed loop, n=24 rooms simulated", "room change simulated"):
        assert title.replace("room change", "When room or robot change") in shown
    assert f"@127.0.0.1/sign-in?page={BEST.page_key}" in shown


def test_json_is_the_stored_document(drover):
    done = drover("report", BEST.digest(), "--json")
    assert EvaluationReport.parse(done.stdout, source="stdout") == BEST


def test_save_writes_page_and_document_and_keeps_what_is_there(drover, tmp_path):
    digest = BEST.digest()
    assert drover("report", digest, "--save", str(tmp_path / "out")).exit_code == 0
    assert (tmp_path / "out" / "report.html").read_bytes() == PAGE
    saved = EvaluationReport.parse((tmp_path / "out" / "report.json").read_bytes(), source="report.json")
    assert saved.digest() == digest
    assert drover("report", digest, "--save", str(tmp_path / "out")).exit_code == 0
    with pytest.raises(ConfigurationError, match="is another report"):
        drover("report", WORSE.digest(), "--save", str(tmp_path / "out"))


def test_page_that_was_changed_is_neither_opened_nor_saved(drover, served, tmp_path):
    store = storage.connect(served)
    store.put("reports", WORSE.page_key, PAGE + b"<script>evil()</script>")
    try:
        for words in ((), ("--save", str(tmp_path / "out"))):
            with pytest.raises(IntegrityError, match="is not shown"):
                drover("report", WORSE.digest(), *words)
        assert not (tmp_path / "out").exists()
        linked = served.model_copy(update={"pages_url": None})
        with pytest.raises(IntegrityError, match="is not shown"):
            storage.page_url(linked, store, WORSE.page_key)
    finally:
        storage.keep_page(store, WORSE.page_key, PAGE)


def test_pointer_to_the_latest_report_that_was_altered_is_named(drover, served):
    store = storage.connect(served)
    kept = store.get("reports", "evaluations/latest.json")
    try:
        for altered in (b"<html>", b"[]", b'{"digest": "../../x"}', b"\xff"):
            store.put("reports", "evaluations/latest.json", altered)
            with pytest.raises(EvidenceError, match="it was altered"):
                drover("report")
    finally:
        store.put("reports", "evaluations/latest.json", kept)


def test_compare_concludes_where_it_is_paired_alone(drover):
    shown = drover("compare", BEST.digest(), WORSE.digest()).stdout
    assert "A's MAE is lower than B's by +0.025 [+0.005, +0.045]" in shown
    assert "A is better" in shown
    assert "Not paired: rooms: one of the two, or both, were not driven. No conclusion." in shown


def test_compare_of_different_test_data_says_so_and_concludes_nothing(drover):
    shown = drover("compare", WORSE.digest(), ELSEWHERE.digest()).stdout
    assert "Figures on frames are not comparable: the reports are on different test data." in shown
    assert "is better" not in shown


def test_leaderboard_ranks_within_a_dataset(drover):
    shown = drover("leaderboard").stdout
    assert shown.index("0.090 [0.070, 0.110]") < shown.index("0.300 [0.280, 0.320]")
    assert shown.count("Dataset ") == 2
    assert "Dataset eeeeeeeeeeee" not in drover("leaderboard", "--dataset", "dd").stdout
