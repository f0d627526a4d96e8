"""The types that cross rooms, the error tree and the settings. Standard library and pydantic only.

What is not covered: behaviour. A type here says what a thing is; the room named after the verb says what happens to it.
"""

from . import errors
from ._base import Frozen, canonical_json
from ._datasets import (
    SPLITS,
    AxisStatistics,
    DatasetEpisode,
    DatasetSpec,
    DatasetVersion,
    FrameSpec,
    Split,
)
from ._episodes import (
    ACTION_LIMIT,
    AXES,
    Axis,
    CheckReport,
    EpisodeName,
    EpisodeRecord,
    EpisodeSummary,
    Finding,
    Receipt,
    RobotId,
)
from ._evidence import (
    BASELINES,
    Ablation,
    ClosedLoopScore,
    Comparison,
    Estimate,
    EvaluationReport,
    OpenLoopScore,
    TrialOutcome,
)
from ._fleet import (
    AgentState,
    Assignment,
    Phase,
    PromotionDecision,
    Release,
    RobotReport,
    RolloutPlan,
    RolloutState,
    RuleOutcome,
)
from ._lineage import describe_lineage
from ._packages import (
    Budget,
    GoldenEpisode,
    Latency,
    PackageManifest,
    PolicyPackage,
    SelfTestResult,
    TensorSpec,
    Tolerances,
)
from ._policies import Ensemble, EpochMetrics, Policy, PolicySpec, TrainedPolicy, TrainingSpec
from ._refs import Lineage, ObjectRef, Sha256
from ._runs import Incumbent, IngestSummary, RunSummary, StageTiming, TrainedMembers, TrainingPlan
from .settings import STACK_FILE, Settings

__all__ = [
    "ACTION_LIMIT",
    "AXES",
    "BASELINES",
    "SPLITS",
    "STACK_FILE",
    "Ablation",
    "AgentState",
    "Assignment",
    "Axis",
    "AxisStatistics",
    "Budget",
    "CheckReport",
    "ClosedLoopScore",
    "Comparison",
    "DatasetEpisode",
    "DatasetSpec",
    "DatasetVersion",
    "Ensemble",
    "EpisodeName",
    "EpisodeRecord",
    "EpisodeSummary",
    "EpochMetrics",
    "Estimate",
    "EvaluationReport",
    "Finding",
    "FrameSpec",
    "Frozen",
    "GoldenEpisode",
    "Incumbent",
    "IngestSummary",
    "Latency",
    "Lineage",
    "ObjectRef",
    "OpenLoopScore",
    "PackageManifest",
    "Phase",
    "Policy",
    "PolicyPackage",
    "PolicySpec",
    "PromotionDecision",
    "Receipt",
    "Release",
    "RobotId",
    "RobotReport",
    "RolloutPlan",
    "RolloutState",
    "RuleOutcome",
    "RunSummary",
    "SelfTestResult",
    "Settings",
    "Sha256",
    "Split",
    "StageTiming",
    "TensorSpec",
    "Tolerances",
    "TrainedMembers",
    "TrainedPolicy",
    "TrainingPlan",
    "TrainingSpec",
    "TrialOutcome",
    "canonical_json",
    "errors",
]
