"""What an operator learns of one invocation: a report a table, and what AWS is answered."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from handler.kafka.event import Batch
from handler.sink.decision import Target
from handler.sink.outcomes import Outcome
from handler.sink.reject_summary import summarize_rejects
from handler.sink.response import PARTS, account, failures, freshness_ms, offsets_of
from handler.sink.topic_writer import TableFailure, count_matched_none, unsettled_in_any
from handler.sink.writer import Result

MANY_FILES = 10
"""A batch puts a file for each partition value of its rows. At 10 MB/s the PUTs of more files than
this cost about as much as all else. The metric `many_files` counts them then."""


class TableOutcome(msgspec.Struct, frozen=True):
    """What became of an event in one table: counts, measures, why some records are unsettled, the
    log line.
    """

    table: str
    counts: Mapping[str, int]
    measures: Mapping[str, float]
    why: str | None
    result: Result
    line: Mapping[str, Any]

    @property
    def metrics(self) -> dict[str, float]:
        """Return the accounting and the measures, as metrics."""
        plan = self.result.plan
        tripped = plan is not None and plan.stopped == "circuit_breaker"
        counts = {name: self.counts[name] for name in ("delivered", *PARTS)}
        flags = {"circuit_breaker": int(tripped), "cold_start": int(self.line["cold_start"])}
        return {**counts, **self.measures, **flags}


class InvocationReport(msgspec.Struct, frozen=True):
    """What became of one event. `failed` are the tables that could not be written, `failures` all
    records that are unsettled in some table, as AWS reads them. `matched_none` is how many records
    no contract is for, None where one takes all.
    """

    topic: str
    delivered: int
    tables: tuple[TableOutcome, ...]
    failed: tuple[TableFailure, ...]
    failures: list[dict[str, Any]]
    matched_none: int | None

    @property
    def why(self) -> str | None:
        """Return why records are unsettled, None if none is."""
        reasons = [f"{f.contract.table}: {f.error}" for f in self.failed]
        several = len(self.tables) + len(self.failed) > 1
        reasons += [
            f"{report.table}: {report.why}" if several else report.why
            for report in self.tables
            if report.why is not None
        ]
        return "; ".join(reasons) or None


def report_invocation(
    batch: Batch,
    results: Sequence[Result | TableFailure],
    *,
    now_ms: int,
    measures: Mapping[str, float],
    cold: bool,
    dry_run: bool,
) -> InvocationReport:
    """Return what became of an event. `measures` are those of the whole invocation.

    Raises AccountingBroken unless the counts add up.
    """

    def reports() -> Iterator[TableOutcome]:
        for result in results:
            if isinstance(result, Result):
                own = {**_measures(result, now_ms), **measures}
                yield _report_table(batch, result, own, cold=cold, dry_run=dry_run)

    first = results[0]
    flat = first.batch.flat if isinstance(first, Result) else first.flat
    return InvocationReport(
        topic=batch.topic,
        delivered=batch.delivered,
        tables=tuple(reports()),
        failed=tuple(each for each in results if isinstance(each, TableFailure)),
        failures=failures(flat, unsettled_in_any(results)),
        matched_none=count_matched_none(results),
    )


def _measures(result: Result, now_ms: int) -> dict[str, float]:
    """Return the measures of one table."""
    freshness = freshness_ms(result.batch.flat, result.outcomes, now_ms)
    beyond, rescued = result.beyond_max_columns, len(result.batch.checked.rescued)
    files = [file for c in result.committed.values() for file in c.change.files]
    rows = result.committed.get(Target.ROWS)
    of_rows = len(rows.change.files) if rows is not None else 0
    return {
        **({"freshness_ms": freshness} if freshness is not None else {}),
        "decided_again": result.conflicts.total(),
        **{f"{name}_ms": round(took, 1) for name, took in result.milliseconds.items()},
        "value_bytes": result.batch.value_bytes,
        "file_bytes": sum(file.size for file in files),
        **({"many_files": of_rows} if of_rows > MANY_FILES else {}),
        **({"fields_beyond_max_columns": beyond} if beyond else {}),
        **({"rescued": rescued} if rescued else {}),
    }


def _report_table(
    batch: Batch, result: Result, measures: Mapping[str, float], *, cold: bool, dry_run: bool
) -> TableOutcome:
    checked = result.batch
    counts = account(result.outcomes, checked.repeats, batch.delivered)
    why = _why(result, dry_run=dry_run)
    plan = result.plan
    rejects = summarize_rejects(checked.contract, checked.flat, plan) if plan else []
    return TableOutcome(
        table=checked.contract.table,
        counts=counts,
        measures=measures,
        why=why,
        result=result,
        line={
            "topic": batch.topic,
            "table": checked.contract.table,
            **counts,
            **measures,
            "streams": offsets_of(checked.flat),
            "versions": {target: c.version for target, c in result.committed.items()},
            "cold_start": cold,
            **({"decided_again_because": dict(result.conflicts)} if result.conflicts else {}),
            **({"unsettled_because": why} if why else {}),
            **({"rejects": rejects} if rejects else {}),
            **({"would": would(result)} if dry_run and result.plan else {}),
        },
    )


def _why(result: Result, *, dry_run: bool) -> str | None:
    """Return why records are unsettled, None if none is."""
    if dry_run:
        return "dry run"
    if result.out_of_time is not None:
        return str(result.out_of_time)
    return result.plan.stopped if result.plan is not None else None


def would(result: Result) -> dict[str, int]:
    """Return what a dry run would have done, by what becomes of a record."""
    assert result.plan is not None
    outcomes = result.plan.outcomes
    return {
        "append": outcomes.count(Outcome.APPEND),
        "dead_letter": outcomes.count(Outcome.DEAD_LETTER),
        "leave_unsettled": outcomes.count(Outcome.UNSETTLED),
    }
