"""One replay: each event is given to the function, and what becomes of it is printed."""

import contextlib
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from handler.app import Function
from handler.contract.load import load_contracts
from handler.errors import SiltError
from handler.settings import Settings
from handler.sink.invocation_report import InvocationReport, would
from silt import output
from silt.command_errors import UsageError
from silt.credentials import use_credentials_for
from silt.replay.replay_plan import ReplayPlan
from silt.replay.replay_report import ReplayReport, describe_dry_run, rejects_of, results_of

REJECTS_SHOWN = 20
EVENTS_SHOWN = 20
"""Of more events than these, those that went well have no line of their own."""
AGAIN = "Run the same command again: what the table contains is recognized."


@dataclass(slots=True)
class ReplayRun:
    """What is replayed, with which settings, and what is printed of it."""

    plan: ReplayPlan
    settings: Settings
    generation_is_given: bool
    yes: bool
    as_json: bool
    results: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> int:
        """Replay everything. Returns the exit code. Raises UsageError, ContractError."""
        for each in self.plan.absent:
            self._refuse(str(each), "not on the broker: it cannot be replayed")
        use_credentials_for(self.settings.table_root)
        contracts = load_contracts(self.settings.contracts)
        # A person replays what may be missing below the watermark: it is never taken on trust.
        looked_up = [replace(contract, redelivered="look_up") for contract in contracts]
        function = Function(self.settings, contracts=looked_up)
        for topic in self.plan.topics:
            self._ask_before_generation(function, topic)
        report = ReplayReport(self.settings.dry_run)
        has_lines = self.plan.count is not None and self.plan.count <= EVENTS_SHOWN
        try:
            self._replay_all(function, report, has_lines=has_lines)
        except KeyboardInterrupt:
            output.warn(f"Interrupted. {report.summary} {AGAIN}")
            raise
        if self.as_json:
            output.as_json(self.results)
        else:
            self._summarize(report, has_lines=has_lines)
        return int(bool(report.failed or report.left or self.plan.absent))

    def _replay_all(self, function: Function, report: ReplayReport, *, has_lines: bool) -> None:
        with contextlib.ExitStack() as stack:
            advance = None
            if not has_lines:
                advance = stack.enter_context(output.progress("replaying", "records"))
            for name, event in self.plan.events():
                try:
                    if isinstance(event, SiltError):
                        raise event
                    done = function.run(event, None)
                except SiltError as error:
                    report.fail()
                    self._refuse(name, str(error))
                    continue
                report.add(done)
                if advance is not None:
                    advance(done.delivered)
                if self.as_json:
                    self.results += results_of(name, done, dry_run=report.dry_run)
                elif has_lines:
                    self._print(name, done)
                if done.why and not (self.as_json or report.dry_run):
                    output.complain(f"{name}: unsettled because: {done.why}")

    def _refuse(self, name: str, error: str) -> None:
        if self.as_json:
            self.results.append({"event": name, "error": error})
        else:
            output.complain(f"{name}: {error}")

    def _ask_before_generation(self, function: Function, topic: str) -> None:
        """Ask before a generation begins that was named by an option: the live function is refused.

        Raises UsageError without a yes.
        """
        if not self.generation_is_given:
            return
        tables = function.begins_generation(topic)
        if not tables:
            return
        generation = self.settings.generation
        output.warn(
            f"{', '.join(tables)}: fed by an earlier generation. The first commit in generation "
            f"{generation} makes it refuse functions of the earlier one: their partitions wait "
            f"until they are deployed with SILT_GENERATION={generation}. No row is duplicated: the "
            "same partition, offset and timestamp is a duplicate."
        )
        if self.settings.dry_run or self.yes:
            return
        if not output.ask(f"Start generation {generation}?"):
            raise UsageError("Nothing was replayed. To start the generation, use --yes.")

    def _print(self, name: str, done: InvocationReport) -> None:
        for table in done.tables:
            counts, into = table.counts, f" into {table.table}" if len(done.tables) > 1 else ""
            if self.settings.dry_run:
                expected = describe_dry_run(counts, would(table.result))
                output.say(
                    f"{name}{into}: dry run, nothing was committed. Of {counts['delivered']} "
                    f"records {expected}."
                )
            else:
                summary = ", ".join(f"{n} {part.replace('_', ' ')}" for part, n in counts.items())
                output.say(f"{name}{into}: {summary}.")
        rejects = [reject for table in done.tables for reject in rejects_of(table)]
        if rejects:
            rows = [list(reject.values()) for reject in rejects[:REJECTS_SHOWN]]
            columns = ["partition", "offset", "code", "path", "message"]
            output.table("Rejects", columns, rows)
            if len(rejects) > REJECTS_SHOWN:
                output.say(f"... and {len(rejects) - REJECTS_SHOWN} more; --json lists all.")

    def _summarize(self, report: ReplayReport, *, has_lines: bool) -> None:
        if report.events > 1 or not has_lines:
            if report.rejects:
                output.table("Rejects", ["code", "path", "records", "example"], report.reasons())
            output.say(report.summary)
