"""Great Expectations over the per-episode summaries: errors quarantine, warnings annotate.

Every rule is one expectation on one column, declared in `_rules.py`; Great Expectations judges, and a finding is a row
that it calls unexpected. Thresholds and severities are the user's (`checks.toml`, `load_rulebook`); their digest stands
in every report. Data Docs are kept as pages that need no internet. `trend` tells how batches change over time,
`coverage` what is missing from the collection. docs/checks.md says what each rule was measured on.

What is not covered: copies that are cropped, turned or cut in time; a robot all of whose episodes have red and blue
swapped; long pauses within an episode, whose file holds one duration for all frames. Importing Great Expectations takes
seconds, so it happens at the first batch that is not empty.
"""

from ._check import check
from ._colours import decide_colours
from ._coverage import CellCount, Coverage, coverage, keep_coverage, write_default
from ._judge import judge
from ._plan import PLAN_DEFAULTS, PLAN_FILE, CollectionPlan, load_plan, read_plan
from ._rulebook import DEFAULTS, FILE, Rulebook, load_rulebook, read_rulebook, rulebook_file
from ._rules import Rule, Thresholds, rules
from ._trend import BatchFigures, keep_trend, trend

__all__ = [
    "DEFAULTS", "FILE", "PLAN_DEFAULTS", "PLAN_FILE", "BatchFigures", "CellCount", "CollectionPlan", "Coverage", "Rule",
    "Rulebook", "Thresholds",
    "check", "coverage", "decide_colours", "judge", "keep_coverage", "keep_trend", "load_plan", "load_rulebook",
    "read_plan", "read_rulebook", "rulebook_file", "rules", "trend", "write_default",
]  # fmt: skip
