"""Evidence about a policy: figures with intervals beside their baselines, ablations, closed loop, and the page.

What is not covered: latency and memory, which are a package's (see `packaging`); whether to promote, which is
`promotion`'s; other robots, rooms and sessions than the data's; what training with other seeds would give. Closed-loop
figures are of the simulation alone.
"""

from ._baselines import Medians, fit_medians, predict_baselines
from ._differences import Difference
from ._evaluate import evaluate
from ._intervals import wilson
from ._metrics import compare, measure
from ._rebuild import Level, Rebuilt, open_evidence, rebuild
from ._reports import keep_report, open_report, report_digests, reports
from ._standings import Board, Standing, standings
from ._suggest import EpisodeSuggestion, ScenarioSuggestion, Suggestions, suggest
from ._truth import Truth
from ._versus import PairedFrames, Versus, read_trials, stand_beside
from .page import Reason, Verdict, judge, words

__all__ = [
    "Board", "Difference", "EpisodeSuggestion", "Level", "Medians", "PairedFrames", "Reason", "Rebuilt",
    "ScenarioSuggestion", "Standing", "Suggestions", "Truth", "Verdict", "Versus", "compare", "evaluate", "fit_medians",
    "judge", "keep_report", "measure", "open_evidence", "open_report", "predict_baselines", "read_trials", "rebuild",
    "report_digests", "reports", "stand_beside", "standings", "suggest", "wilson", "words",
]  # fmt: skip
