"""Great Expectations does the judging: rules -> expectations, the unexpected rows -> findings."""

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.contracts import Finding
from components.contracts.errors import DroverError

from ._rules import Rule
from ._table import Row

os.environ["GX_ANALYTICS_ENABLED"] = "false"  # before the import, or it reports on its users

with warnings.catch_warnings():  # what its dependencies say about each other while they load
    warnings.simplefilter("ignore")
    import great_expectations as gx
    import great_expectations.expectations as gxe
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig
    from great_expectations.expectations.row_conditions import Column

logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)  # tells of temporary folders

_SUITE = "episodes"
_SEVERITY = {"error": "critical", "warning": "warning"}


def judge(rows: Sequence[Row], table: Sequence[Rule], site: Path) -> list[Finding]:
    """Run the suite and build its Data Docs in the folder `site`.

    Raises:
        DroverError: an expectation could not be evaluated; nothing is taken as passed.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    frame = pd.DataFrame(rows)
    asset = context.data_sources.add_pandas("inbox").add_dataframe_asset("summaries")
    batch = asset.add_batch_definition_whole_dataframe("batch")
    suite = context.suites.add(gx.ExpectationSuite(name=_SUITE, expectations=_expectations(table, list(frame.columns))))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=_SUITE, data=batch, suite=suite))
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name=_SUITE,
            validation_definitions=[definition],
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["episode", "sha256"]},
        )
    )
    outcome = checkpoint.run(batch_parameters={"dataframe": frame})
    _build_site(context, site)
    by_sha256 = {row["sha256"]: row for row in rows}
    results = [result for run in outcome.run_results.values() for result in run.results]
    return [finding for result in results for finding in _findings(result, table, by_sha256)]


def _expectations(table: Sequence[Rule], columns: list[str]) -> list[Any]:
    schema = gxe.ExpectTableColumnsToMatchSet(
        column_set=columns,
        meta={"rule": "schema", "severity": "error"},
        description="schema (error): every column is there",
    )
    return [schema, *(_expectation(index, rule) for index, rule in enumerate(table))]


def _expectation(index: int, rule: Rule) -> Any:
    common: dict[str, Any] = {
        "column": rule.column,
        "meta": {"rule": rule.rule, "severity": rule.severity, "index": index},
        "severity": _SEVERITY[rule.severity],
        "description": f"{rule.rule} ({rule.severity}): expected {rule.expected}",
    }
    if rule.sources:
        common |= {"row_condition": Column("source").is_in(list(rule.sources))}
    if rule.present is None:
        return gxe.ExpectColumnValuesToBeBetween(**common, min_value=rule.minimum, max_value=rule.maximum)
    return gxe.ExpectColumnValuesToNotBeNull(**common) if rule.present else gxe.ExpectColumnValuesToBeNull(**common)


def _findings(result: Any, table: Sequence[Rule], by_sha256: dict[str, Row]) -> list[Finding]:
    meta = result.expectation_config.meta
    if result.exception_info and result.exception_info.get("raised_exception", True):
        raise DroverError(f"expected the rule {meta['rule']} to be evaluated, but: {result.exception_info}")
    if result.success:
        return []
    if "index" not in meta:
        raise DroverError(f"expected a table with every column, found {result.result.get('observed_value')}")
    rule = table[meta["index"]]
    return [
        Finding(
            sha256=item["sha256"],
            rule=rule.rule,
            severity=rule.severity,
            expected=rule.expected,
            observed=rule.phrase.format(by_sha256[item["sha256"]][rule.shown or rule.column]),
        )
        for item in result.result["unexpected_index_list"]
    ]


def _build_site(context: Any, site: Path) -> None:
    for name in list(context.get_site_names()):
        context.delete_data_docs_site(name)
    context.add_data_docs_site(
        site_name=_SUITE,
        site_config={
            "class_name": "SiteBuilder",
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site)},
            "show_how_to_buttons": False,
        },
    )
    context.build_data_docs(site_names=[_SUITE])
