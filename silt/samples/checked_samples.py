"""Samples of several topics, each judged by its contract, and what is printed of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handler.contract.contract import Contract, by_topic
from handler.errors import counted
from handler.sink.invocation_report import MANY_FILES
from silt import output
from silt.command_errors import UsageError
from silt.partition_cost import FIX, puts_of_month
from silt.samples.judge import AT_ONCE, Judgement, count_partitions, find_unmet_columns, judge
from silt.samples.read_samples import Sample, read_samples

REJECTS_SHOWN = 20


@dataclass(slots=True)
class CheckedSamples:
    """What became of samples, by contract; `warnings` are of columns that none of them fills, of
    many partitions, and of a `where` that keeps none.
    """

    judgements: list[tuple[Contract, Judgement]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def rejected(self) -> int:
        """Return how many are rejected."""
        return sum(each.outcome == "rejected" for _, each in self.judgements)

    def as_json(self) -> list[dict[str, Any]]:
        """Return each sample for a script."""
        return [
            {
                "sample": each.name,
                "topic": contract.topic,
                "table": contract.table,
                "outcome": each.outcome,
                "problems": [
                    {"code": str(p.code), "path": p.path, "message": p.message}
                    for p in each.problems
                ],
            }
            for contract, each in self.judgements
        ]

    def show(self) -> None:
        """Print the rejects, and how many became what."""
        rejects = [
            [each.name, str(problem.code), problem.path, problem.message]
            for _, each in self.judgements
            for problem in each.problems
        ]
        if rejects:
            columns = ["sample", "code", "path", "message"]
            output.table("Rejected samples", columns, rejects[:REJECTS_SHOWN])
            if len(rejects) > REJECTS_SHOWN:
                output.say(f"... and {len(rejects) - REJECTS_SHOWN} more; --json lists all.")
        tables = list(dict.fromkeys(contract.table for contract, _ in self.judgements))
        for table in tables:
            counts = Counter(each.outcome for c, each in self.judgements if c.table == table)
            into = f"{table}: " if len(tables) > 1 else ""
            output.say(
                f"{into}{counted(counts.total(), 'sample')}: {counts['row']:,} would be rows, "
                f"{counts['rejected']:,} rejected, {counts['dropped']:,} dropped by a rule.",
                None if self.rejected else "green",
            )


def check_samples(
    contracts: Sequence[Contract], sources: Sequence[str], topic: str | None
) -> CheckedSamples:
    """Judge samples, each by the contract of its topic. Bare values are of `topic`, or of the only
    contract.

    Raises UsageError where a topic has no contract, or nobody says it.
    """
    known = by_topic(contracts)
    samples_of: dict[str, list[Sample]] = {}
    for sample in read_samples(sources):
        samples_of.setdefault(_topic_of(sample, known, topic), []).append(sample)
    result = CheckedSamples()
    pairs = [(contract, given) for name, given in samples_of.items() for contract in known[name]]
    for contract, samples in pairs:
        judged = list(judge(contract, samples))
        result.judgements += [(contract, each) for each in judged]
        own = [s for s, j in zip(samples, judged, strict=True) if j.outcome != "dropped"]
        result.warnings += [
            f"{contract.file}: columns.{column}: none of {counted(len(own), 'sample')} has its "
            "field. Is it written like this? `source` names the field of the JSON"
            for column in find_unmet_columns(contract, own)
        ]
        partitions = count_partitions(contract, judged)
        if partitions > MANY_FILES:
            result.warnings.append(
                f"{contract.file}: partition_by: {counted(min(len(samples), AT_ONCE), 'sample')} "
                f"are rows of {partitions} partitions. A batch like them puts {partitions} files: "
                f"at 10 MB/s some {puts_of_month(partitions):,.0f} USD of PUTs a month. {FIX}"
            )
        if contract.where is not None and not own:
            text = f"where: it keeps none of {counted(len(samples), 'sample')}"
            result.warnings.append(f"{contract.file}: {text}. Are its fields written like this?")
    return result


def _topic_of(
    sample: Sample, contracts: Mapping[str, Sequence[Contract]], topic: str | None
) -> str:
    name = sample.topic or topic or (next(iter(contracts)) if len(contracts) == 1 else None)
    if name is None:
        raise UsageError(
            f"{sample.name} does not say its topic, and there are contracts for "
            f"{', '.join(sorted(contracts))}. Name it with --topic."
        )
    if name not in contracts:
        raise UsageError(
            f"{sample.name}: there is no contract for the topic {name!r}, only for "
            f"{', '.join(sorted(contracts))}."
        )
    return name
