"""Great Expectations over the per-episode summaries: errors quarantine, warnings annotate.

Every rule is one expectation on one column, declared in `_rules.py` with its severity and threshold; Great Expectations
judges, and a finding is a row that it calls unexpected. Its Data Docs are kept as pages that need no internet: remote
style sheets, scripts and the counting image are cut out.

What is not covered: anything that the summary does not measure, such as blur or the order of colours; coverage
against a collection plan. `near-duplicate` compares three frames' hashes with every known episode's, all in memory.
Importing Great Expectations takes seconds, so it happens at the first batch that is not empty.
"""

from ._check import check
from ._rules import Rule, Thresholds, rules

__all__ = ["Rule", "Thresholds", "check", "rules"]
