"""What became of the events of a replay, by outcome and by reason."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handler.errors import counted
from handler.sink.invocation_report import InvocationReport, TableOutcome, would
from handler.sink.outcomes import Outcome
from handler.sink.response import PARTS
from silt.local.invocation_log import Reason


@dataclass(slots=True)
class ReplayReport:
    """The totals. `would` counts what a dry run would have done; `rejects` counts reasons, with the
    place of one record in `examples`.
    """

    dry_run: bool
    events: int = 0
    records: int = 0
    failed: int = 0
    left: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    would: Counter[str] = field(default_factory=Counter)
    rejects: Counter[Reason] = field(default_factory=Counter)
    examples: dict[Reason, str] = field(default_factory=dict)

    def add(self, report: InvocationReport) -> None:
        """Take in what became of an event."""
        self.events += 1
        self.records += report.delivered
        if not self.dry_run:
            self.left += len(report.failures)
        for table in report.tables:
            self._add_table(table)

    def _add_table(self, table: TableOutcome) -> None:
        self.counts.update(table.counts)
        if self.dry_run:
            self.would.update(would(table.result))
            self.left += would(table.result)["leave_unsettled"]
        for each in table.line.get("rejects", ()):
            reason = each["code"], each["path"]
            self.rejects[reason] += each["records"]
            self.examples.setdefault(reason, each["example"])

    def fail(self) -> None:
        """Take in an event that the function refused."""
        self.events += 1
        self.failed += 1

    def reasons(self) -> list[list[object]]:
        """Return each reason for rejects: code, path, records, and the place of one."""
        return [
            [code, path, records, self.examples[code, path]]
            for (code, path), records in self.rejects.most_common()
        ]

    @property
    def summary(self) -> str:
        """Return the totals in a line."""
        failed = f"; {counted(self.failed, 'event')} failed" if self.failed else ""
        of = f"{counted(self.events, 'event')} with {counted(self.records, 'record')}"
        if self.dry_run:
            expected = describe_dry_run(self.counts, self.would)
            return f"{of}: dry run, nothing was committed. {expected}{failed}."
        parts = ", ".join(f"{self.counts[part]:,} {part.replace('_', ' ')}" for part in PARTS)
        return f"{of}: {parts}{failed}."


def describe_dry_run(counts: Mapping[str, int], would: Mapping[str, int]) -> str:
    """Return what would have become of records, by the names of `would` and of the accounting."""
    return (
        f"{would['append']:,} would be appended, {would['dead_letter']:,} would be rejected, "
        f"{counts['skipped_by_rule']:,} would be skipped by rule, {counts['duplicates']:,} are in "
        f"the tables already, {would['leave_unsettled']:,} would stay unsettled"
    )


def results_of(name: str, report: InvocationReport, *, dry_run: bool) -> list[dict[str, Any]]:
    """Return what became of one event in each table, for a script."""
    written: list[dict[str, Any]] = [
        {
            "event": name,
            "topic": report.topic,
            "table": table.table,
            **table.counts,
            **({"would": would(table.result)} if dry_run else {"versions": table.line["versions"]}),
            "unsettled_because": table.why,
            "rejects": rejects_of(table),
        }
        for table in report.tables
    ]
    failed = [
        {
            "event": name,
            "topic": report.topic,
            "table": each.contract.table,
            "error": str(each.error),
        }
        for each in report.failed
    ]
    return written + failed


def rejects_of(report: TableOutcome) -> list[Mapping[str, Any]]:
    """Return the rejects of a batch that are not settled from before."""
    plan, flat = report.result.plan, report.result.batch.flat
    if plan is None:
        return []
    stays = (Outcome.DEAD_LETTER, Outcome.UNSETTLED)
    return [
        {
            "partition": flat.partitions[i],
            "offset": flat.offsets[i],
            "code": str(problem.code),
            "path": problem.path,
            "message": problem.message,
        }
        for i, problems in sorted(plan.problems.items())
        if plan.outcomes[i] in stays
        for problem in problems
    ]
