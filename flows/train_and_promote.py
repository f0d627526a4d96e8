"""The story: what robots saw and did becomes a better policy on every robot.

    dataset -> train -> ensemble -> evaluate -> package -> gate -> release

Started again after a kill, a run skips what is done: every stage's result is kept by its inputs' content. A run that finds
nothing new ends in seconds and says why. Robots then take the release step by step: `advance_rollouts`.
"""

from prefect import flow
from prefect.states import Completed, State

from components.contracts import (
    DatasetSpec,
    DatasetVersion,
    Ensemble,
    EvaluationReport,
    PolicyPackage,
    RunSummary,
    TrainedMembers,
    TrainingPlan,
)

from . import _artifacts as artifacts
from . import _tasks as tasks


@flow(name="train-and-promote", persist_result=False)
def train_and_promote(dataset: DatasetSpec | None = None, plan: TrainingPlan | None = None) -> State[RunSummary]:
    """Train, prove and release a policy from every episode admitted so far.

    Args:
        dataset: which episodes, how split and resized.
        plan: members, closed-loop trials, rollout; the defaults make three compact members and one trained on two workers.

    Returns:
        Completed, named for its outcome (`Promoted`, `Refused`, `NothingNew`) with the reason as its message.
    """
    spec, plan = dataset or DatasetSpec(), plan or TrainingPlan()
    stages = tasks.Stages()

    episodes = tasks.list_episodes(spec)
    version = stages.run(tasks.build_dataset, DatasetVersion, spec, episodes)
    distributed = stages.run(tasks.train_distributed, TrainedMembers, version, plan)
    members = stages.run(tasks.train_members, TrainedMembers, version, plan)
    ensemble = stages.run(tasks.fit_ensemble, Ensemble, version, distributed, members)

    incumbent = tasks.find_incumbent()
    if incumbent and incumbent.ensemble == ensemble:
        return _finish(stages.nothing_new(version, incumbent))

    report = stages.run(tasks.evaluate, EvaluationReport, version, ensemble, incumbent, plan)
    artifacts.show_report(report)
    package = stages.run(tasks.package_policy, PolicyPackage, version, ensemble, report)
    decision = stages.always(tasks.decide, report, package, incumbent)
    artifacts.show_decision(decision)
    if not decision.promote:
        return _finish(stages.refused(version, ensemble, report, package, decision))

    rollout = stages.always(tasks.release, package, decision, plan)
    return _finish(stages.promoted(version, ensemble, report, package, decision, rollout))


def _finish(summary: RunSummary) -> State[RunSummary]:
    artifacts.keep_summary(summary)
    name = {"promoted": "Promoted", "refused": "Refused", "nothing-new": "NothingNew"}[summary.status]
    return Completed(name=name, message=summary.reason, data=summary)


if __name__ == "__main__":
    train_and_promote()
