"""`drover gate explain` against a real store: the evidence that was kept, judged again."""

from collections.abc import Iterator

import pytest
from click.testing import Result
from typer.testing import CliRunner

from components.cli import app
from components.contracts import (
    DatasetSpec,
    DatasetVersion,
    EvaluationReport,
    Incumbent,
    PolicyPackage,
    PromotionDecision,
    RunSummary,
    Settings,
)
from components.contracts.errors import DroverError, EvidenceError, PromotionError
from components.evaluation import keep_report
from components.promotion import decide
from components.storage import S3Store, connect
from tests.promotion.test_evidence import keep_old
from tests.promotion.test_gate import OLD, incumbent_of, make_package
from tests.reports import make_ensemble, make_report
from tests.stores import running

pytestmark = [pytest.mark.s3, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("served")
    with running("seaweedfs", folder / "store") as found:
        settings = found.settings
        assert settings.s3_endpoint
        assert settings.s3_key
        assert settings.s3_secret
        yield {
            "DROVER_HOME": str(folder / "home"),
            "DROVER_S3_ENDPOINT": settings.s3_endpoint,
            "DROVER_S3_KEY": settings.s3_key,
            "DROVER_S3_SECRET": settings.s3_secret.get_secret_value(),
        }


@pytest.fixture
def store(served: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """Empty of evidence."""
    for name, value in served.items():
        monkeypatch.setenv(name, value)
    store = connect(Settings())
    for bucket, prefix in (("models", ""), ("reports", "evaluations/")):
        for info in list(store.list(bucket, prefix)):
            store.remove(bucket, info.key)
    return store


def explain(*words: str) -> Result:
    return CliRunner().invoke(app, ["gate", "explain", *words], catch_exceptions=False, env={"COLUMNS": "200"})


def keep_run(
    store: S3Store, report: EvaluationReport, *, decision: PromotionDecision | None, package: PolicyPackage
) -> None:
    dataset = DatasetVersion(
        spec=DatasetSpec(), episodes=(), shards=(), statistics=(), key_counts={}, vocabulary=()
    )  # fmt: skip
    summary = RunSummary(
        status="refused" if decision and not decision.promote else "promoted", reason="a test", dataset=dataset,
        ensemble=make_ensemble(), report=report, package=package, decision=decision, stages=(),
    )  # fmt: skip
    store.put("models", "runs/latest.json", summary.canonical_json())


def keep_release(store: S3Store, name: str, number: int, report: EvaluationReport) -> Incumbent:
    release = incumbent_of().release.model_copy(update={"name": name, "number": number})
    package = make_package(report)
    manifest = package.manifest.model_copy(update={"sha256": f"{number:x}" * 64})
    kept = Incumbent(
        release=release, package=package.model_copy(update={"manifest": manifest}), ensemble=OLD, report=report
    )
    store.put("models", f"releases/{name}.json", kept.canonical_json())
    return kept


def test_last_run_that_was_refused_is_told_rule_by_rule(store: S3Store) -> None:
    report = make_report(mae=0.26)
    package = make_package(report)
    keep_run(store, report, decision=decide(report, package, incumbent=None), package=package)
    told = explain()
    assert told.exit_code == 3
    assert "MAE lower than that of constant by 0.040 [-0.010, 0.090], n=20, paired by episode" in told.output
    assert "comparisons.constant.mae_gain needs low > 0" in told.output
    assert "The interval is too wide to be sure: collect more test episodes." in told.output
    assert "incumbent_success 0.15" in told.output
    assert "4 of 21 rules" in told.output


def test_decision_is_made_again_and_never_copied(store: S3Store) -> None:
    """What was said of it then does not count."""
    report = make_report(mae=0.26)
    package = make_package(report)
    flattered = decide(make_report(), make_package(make_report()), incumbent=None)
    keep_run(store, report, decision=flattered, package=package)
    assert flattered.promote
    assert explain("latest").exit_code == 3


def test_release_is_found_by_its_name_its_package_and_its_report(store: S3Store) -> None:
    kept = keep_release(store, "r0001", 1, make_report())
    keep_release(store, "r0011", 11, make_report(mae=0.11))
    for name in ("r0001", kept.package.sha256[:8], kept.package.evaluation[:12]):
        told = explain(name)
        assert told.exit_code == 0
        assert "PROMOTE" in told.output
        assert "release r0001" in told.output
        assert "success rate higher than that of driving straight ahead" in told.output


def test_report_without_a_package_is_judged_against_todays_incumbent(store: S3Store) -> None:
    keep_report(store, report := make_report(), b"<html></html>")
    known = incumbent_of()
    store.put("models", "promoted.json", known.canonical_json())
    for name in ("latest", report.digest()[:6]):
        told = explain(name)
        assert told.exit_code == 3
        assert "there is none" in told.output
        assert "in the place of r0001" in told.output
        assert "Evaluate with the incumbent, r0001" in told.output


@pytest.mark.parametrize("name", ["r0009", "abc", "", "ffffffff"])
def test_unknown_name_is_an_error_that_says_what_to_do(store: S3Store, name: str) -> None:
    keep_release(store, "r0001", 1, make_report())
    with pytest.raises(EvidenceError, match="means none; see `drover leaderboard`"):
        explain(name)


def test_name_of_several_reports_is_an_error_that_lists_them(store: S3Store) -> None:
    keep_release(store, "r0001", 1, make_report())
    other = keep_release(store, "r0011", 1, make_report(mae=0.11))
    with pytest.raises(EvidenceError, match=r"means 2: release r0001 .*, release r0011"):
        explain(other.package.sha256[:8])


def test_nothing_kept_is_an_error(store: S3Store) -> None:
    with pytest.raises(DroverError, match="train-and-promote"):
        explain()


def test_evidence_of_an_older_drover_is_an_error_that_says_so(store: S3Store) -> None:
    keep_old(store, "releases/r0001.json")  # type: ignore[arg-type]
    with pytest.raises(PromotionError, match="older Drover"):
        explain("r0001")
    store.put("models", "runs/latest.json", b'{"status": "promoted"}')
    with pytest.raises(PromotionError, match="older Drover"):
        explain()
