"""One question a stage: would it refuse?"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from components import datasets, ingest, promotion
from components.contracts import (
    MOST_OTHER_KEYS,
    DatasetSpec,
    PolicySpec,
    Settings,
    TrainingPlan,
    TrainingRequest,
)
from components.contracts.errors import ConfigurationError, DroverError, PromotionError
from components.datasets import Outlook
from components.episodes import tokenize, words
from components.storage import ObjectStore

_STACKS_LEAST_CPUS = 2


@dataclass(frozen=True)
class Preflight:
    """Findings of a look before a run."""

    problems: tuple[str, ...]
    """Each would end the run."""
    warnings: tuple[str, ...]
    """Each makes the gate refuse."""


def preflight(store: ObjectStore, settings: Settings, request: TrainingRequest) -> Preflight:
    """Look for whatever would stop a run of `train-and-promote`, before it begins.

    Args:
        store: Episodes' records, edits, collections, enrolled robots, the promoted policy.
        settings: Where Ray is, and which hardware releases are for.
        request: The run's parameters; its own contradictions are refused by its type.
    """
    spec, plan = request.dataset or DatasetSpec(), request.plan or TrainingPlan()
    problems = [*_workers(plan, settings)]
    outlook: Outlook | None = None
    try:
        spec, records = datasets.select(store, spec, ingest.records(store))
    except DroverError as error:
        problems.append(str(error))
    else:
        outlook = datasets.foresee(spec, records)
        problems += outlook.problems
    warnings: list[str] = []
    if outlook and outlook.splits:
        problems += [*_members(plan, outlook), *_golden(outlook)]
        warnings += [*_gate(plan, outlook), *_incumbent(store, spec)]
    try:
        promotion.rollout_robots(store, settings, plan)
    except PromotionError as error:
        # Where the gate refuses anyhow nothing is released; robots that somebody named are meant.
        (warnings if warnings and not plan.rollout_robots else problems).append(str(error))
    return Preflight(tuple(problems), tuple(warnings))


def require(store: ObjectStore, settings: Settings, request: TrainingRequest) -> tuple[str, ...]:
    """Return the warnings of a run that nothing speaks against.

    Raises:
        ConfigurationError: it would fail; the message names every problem.
    """
    found = preflight(store, settings, request)
    if found.problems:
        count = f"{len(found.problems)} problems" if len(found.problems) > 1 else "1 problem"
        told = "; ".join(f"({number}) {problem}" for number, problem in enumerate(found.problems, 1))
        raise ConfigurationError(f"the run would fail, {count} found before its first stage: {told}")
    return found.warnings


def _workers(plan: TrainingPlan, settings: Settings) -> Iterator[str]:
    """Ray waits without an end for processors that it does not have. Of a cluster elsewhere nothing is known here."""
    address = settings.ray_address
    if plan.distributed == {} or address is None or not address.startswith(("127.0.0.1:", "localhost:")):
        return
    there = max(_STACKS_LEAST_CPUS, os.cpu_count() or 1)
    if plan.workers > there:
        yield f"expected at most {there} workers, as many as the stack's Ray has CPUs, got plan.workers={plan.workers}"


def _members(plan: TrainingPlan, outlook: Outlook) -> Iterator[str]:
    """Specs that somebody gave have to fit the data; those by default are made to."""
    given = (plan.members or {}) | (plan.distributed or {})
    for name, spec in given.items():
        if outlook.axes and not set(spec.axes) <= set(outlook.axes):
            yield (
                f"member {name}: expected axes among {', '.join(outlook.axes)}, which vary in the training episodes, "
                f"got {', '.join(spec.axes)}"
            )
    yield from _kinds(plan, given, outlook)


def _kinds(plan: TrainingPlan, given: dict[str, PolicySpec], outlook: Outlook) -> Iterator[str]:
    """Members of one ensemble share their kind of actions; the default ones follow the data."""
    by_default = plan.members in (None, {}) or plan.distributed is None
    if not given or not by_default or outlook.other_actions is None:
        return
    fitted = "continuous" if outlook.other_actions > MOST_OTHER_KEYS else "keys"
    for name, spec in given.items():
        if spec.action_space != fitted:
            yield (
                f"member {name}: expected action_space {fitted!r} as the default members have on these episodes, got "
                f"{spec.action_space!r}; give all members, and distributed={{}} or one of the same kind"
            )


def _golden(outlook: Outlook) -> Iterator[str]:
    """A package repeats a test episode whose instruction it understands."""
    vocabulary, tests = outlook.vocabulary, outlook.splits["test"]
    if vocabulary and not any((tokenize(item.summary.instruction, vocabulary) > 1).any() for item in tests):
        yield (
            f"expected a test episode whose instruction has a word of the training episodes', found none among "
            f"{len(tests)}; record or edit instructions that both share (`drover episodes stats`)"
        )


def _gate(plan: TrainingPlan, outlook: Outlook) -> Iterator[str]:
    """Rules whose evidence these episodes, or this plan, cannot give."""
    tests = [record.summary for record in outlook.splits["test"]]
    if plan.trials is None and any(item.source == "simulated" for item in tests):
        yield "the gate will refuse: simulated episodes need a closed loop, and plan.trials is null"
    sides = {side for item in tests for side in ("left", "right") if side in words(item.instruction)}
    if len(sides) < 2:
        named = f"only {next(iter(sides))}" if sides else "no side"
        yield (
            f"the gate will refuse: whether a policy listens is measured by instructions that name left and right, and "
            f"the {len(tests)} test episodes name {named}"
        )


def _incumbent(store: ObjectStore, spec: DatasetSpec) -> Iterator[str]:
    incumbent = promotion.find_incumbent(store)
    if incumbent and (seen := incumbent.ensemble.members[0].spec.frame) != spec.frame:
        yield (
            f"the gate will refuse: {incumbent.release.name} sees frames of {seen.width}x{seen.height}, and frames of "
            f"{spec.frame.width}x{spec.frame.height} cannot be compared with it"
        )
