"""The story: what robots saw and did becomes a better policy on every robot.

    preflight -> dataset -> train -> ensemble -> evaluate -> package -> gate -> release

Started again after a kill, a run skips what is done: every stage's result is kept by its inputs' content. A run that
finds nothing new ends in seconds and says why. Robots then take the release step by step: `advance_rollouts`.
"""

from functools import partial
from typing import Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from components.contracts import (
    DatasetSpec,
    DatasetVersion,
    Ensemble,
    EvaluationReport,
    PolicyPackage,
    PromotionDecision,
    RunSummary,
    TrainedMembers,
    TrainingPlan,
)

from . import _artifacts as artifacts
from . import _tasks as tasks

_STATE_NAMES = {"promoted": "Promoted", "refused": "Refused", "nothing-new": "NothingNew"}


@flow(name="train-and-promote", persist_result=False)
def train_and_promote(dataset: DatasetSpec | None = None, plan: TrainingPlan | None = None) -> State[RunSummary]:
    """Train, prove and release a policy from every episode admitted so far.

    Args:
        dataset: which episodes, how split and resized.
        plan: members, closed-loop trials, rollout; by default four compact members, one of them on two workers.

    Returns:
        Completed, named for its outcome (`Promoted`, `Refused`, `NothingNew`) with the reason as its message.
    """
    spec, plan = dataset or DatasetSpec(), plan or TrainingPlan()
    stages = tasks.Stages()

    tasks.preflight(spec, plan)
    spec, episodes = tasks.list_episodes(spec)
    version = stages.run(tasks.build_dataset, DatasetVersion, spec, episodes)
    members = [
        stages.run(tasks.train_distributed, TrainedMembers, version, plan),
        stages.run(tasks.train_members, TrainedMembers, version, plan),
    ]
    ensemble = stages.run(tasks.fit_ensemble, Ensemble, version, members)

    finish = partial(_finish, stages, version, ensemble)

    incumbent = tasks.find_incumbent()
    if incumbent and incumbent.report and incumbent.ensemble == ensemble:
        reason = f"nothing new: dataset {version.version[:12]} and code are those of {incumbent.release.name}"
        return _finish(
            stages, version, ensemble, incumbent.report, incumbent.package, status="nothing-new", reason=reason
        )

    report = stages.run(tasks.evaluate, EvaluationReport, version, members, ensemble, incumbent, plan)
    artifacts.show_report(report)
    package = stages.run(tasks.package_policy, PolicyPackage, version, ensemble, report)
    decision = stages.always(tasks.decide, report, package, incumbent)
    artifacts.show_decision(decision)
    if not decision.promote:
        broken = "; ".join(f"{rule.rule}: {rule.evidence}" for rule in decision.rules if not rule.passed)
        reason = f"the gate refuses package {package.sha256[:12]}: {broken}"
        return finish(report, package, status="refused", reason=reason, decision=decision)

    rollout = stages.always(tasks.release, package, ensemble, report, plan)  # of a rerun it may be over by now
    reason = f"{rollout.plan.release} is signed; its rollout is {rollout.status}: {rollout.reason}"
    return finish(report, package, status="promoted", reason=reason, decision=decision)


def _finish(
    stages: tasks.Stages,
    dataset: DatasetVersion,
    ensemble: Ensemble,
    report: EvaluationReport,
    package: PolicyPackage,
    *,
    status: Literal["promoted", "refused", "nothing-new"],
    reason: str,
    decision: PromotionDecision | None = None,
) -> State[RunSummary]:
    summary = RunSummary(
        status=status,
        reason=reason,
        dataset=dataset,
        ensemble=ensemble,
        report=report,
        package=package,
        decision=decision,
        stages=tuple(stages.timings),
    )
    artifacts.keep_summary(summary)
    return Completed(name=_STATE_NAMES[status], message=reason, data=summary)


if __name__ == "__main__":
    train_and_promote()
