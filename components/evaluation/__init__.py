"""Evidence about a policy: figures with intervals beside their baselines, ablations, closed loop, and the page.

What is not covered: latency and memory, which are a package's (see `packaging`); whether to promote, which is
`promotion`'s; other robots, rooms and sessions than the data's; what training with other seeds would give. Closed-loop
figures are of the simulation alone.
"""

from ._baselines import Medians, fit_medians, predict_baselines
from ._evaluate import evaluate
from ._intervals import wilson
from ._metrics import compare, measure
from ._reports import keep_report, open_report, report_digests, reports
from ._truth import Truth

__all__ = [
    "Medians", "Truth", "compare", "evaluate", "fit_medians", "keep_report", "measure", "open_report",
    "predict_baselines", "report_digests", "reports", "wilson",
]  # fmt: skip
