"""What `silt dev` shows of a mapping: how it goes on, why records are rejected, a summary."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from handler.contract.contract import DEAD_LETTERS_SUFFIX
from handler.errors import counted
from silt import output
from silt.local.contract_watch import ContractWatch
from silt.local.invocation_log import Reason, list_reasons, merge_rejects
from silt.local.pollers import LocalMapping

PROGRESS_S = 1.0
"""So often a line of progress is printed at most."""
REASONS_SHOWN = 20
REASONS_IN_LINE = 3
COUNTS = ("appended", "dead_lettered", "skipped_by_rule", "duplicates")


@dataclass(slots=True)
class DevView:
    """Prints how a mapping goes on; `say` takes what is not the summary itself."""

    mapping: LocalMapping
    topic: str
    uris: Sequence[str]
    say: Callable[[str], None]
    dry_run: bool = False
    _printed: int = 0
    _printed_at: float = field(default_factory=time.monotonic)
    _rejects: Counter[Reason] = field(default_factory=Counter)

    def watch(self, until_idle_s: float | None, contracts: ContractWatch | None) -> None:
        """Print progress until nothing has come for a while. Raises what ended a poller.

        Where `contracts` change, the next batches go by them.
        """
        settled, since = 0, time.monotonic()
        while True:
            self.mapping.check()
            now = time.monotonic()
            if self.mapping.busy:
                since = now
            if self.mapping.records != settled:
                settled, since = self.mapping.records, now
            if settled != self._printed and now - self._printed_at >= PROGRESS_S:
                self._print_progress(settled, now)
            if until_idle_s is not None and now - since > until_idle_s:
                return
            if contracts is not None and contracts.has_changed():
                self._reload(contracts)
                since = now
            time.sleep(0.2)

    def _reload(self, contracts: ContractWatch) -> None:
        problems = contracts.problems()
        if problems is not None:
            output.complain(f"The contract was changed, and is not used: {problems}")
            return
        self.mapping.renew()
        self.say("The contract was changed: the next batch goes by it.")

    def _print_progress(self, settled: int, now: float) -> None:
        rate = (settled - self._printed) / (now - self._printed_at)
        self._printed, self._printed_at = settled, now
        counts, behind = self.mapping.counts, self.mapping.behind
        retries = sum(progress.retries for progress in self.mapping.progress)
        parts = [
            f"{counts['appended']:,} appended",
            f"{counts['dead_lettered']:,} dead letters",
            f"{counts['skipped_by_rule']:,} skipped",
            f"{counts['duplicates']:,} duplicates",
            f"{counts['unsettled'] if self.dry_run else 0:,} would stay unsettled",
            f"{retries:,} retries",
        ]
        lag = f"; {behind:,} offsets behind the topic" if behind is not None else ""
        shown = ", ".join(part for part in parts if not part.startswith("0 "))
        verb = "tried" if self.dry_run else "settled"
        self.say(
            f"{counted(settled, 'record')} {verb}, {rate:,.0f}/s{': ' if shown else ''}{shown}{lag}"
        )
        self._print_new_rejects()

    def _print_new_rejects(self) -> None:
        """Print the most frequent reasons for rejects that are new since the last time."""
        rejects = merge_rejects(self.mapping.logs)
        total = Counter({(each["code"], each["path"]): each["records"] for each in rejects})
        new, self._rejects = total - self._rejects, total
        examples = {(each["code"], each["path"]): each["example"] for each in rejects}
        shown = [
            {"code": code, "path": path, "records": count, "example": examples[code, path]}
            for (code, path), count in new.most_common(REASONS_IN_LINE)
        ]
        if shown:
            more = f", and {len(new) - len(shown)} more reasons" if len(new) > len(shown) else ""
            output.warn(f"rejected: {list_reasons(shown)}{more}")

    def summary(self, log: str) -> dict[str, Any]:
        """Return what became of the records, for a script."""
        progress, counts = self.mapping.progress, self.mapping.counts
        return {
            "topic": self.topic,
            "tables": list(self.uris),
            "dry_run": self.dry_run,
            "records": self.mapping.records,
            **{name: counts[name] for name in COUNTS},
            **({"unsettled": counts["unsettled"]} if self.dry_run else {}),
            "given_up": sum(p.given_up for p in progress),
            "invocations": sum(p.invocations for p in progress),
            "retries": sum(p.retries for p in progress),
            "rejects": merge_rejects(self.mapping.logs),
            "log": log,
        }

    def summarize(self, log: str, redrives: Sequence[str]) -> None:
        """Print the summary; `redrives` are the commands that bring dead letters back, by table."""
        totals = self.summary(log)
        invocations = counted(totals["invocations"], "invocation")
        begin = f"{counted(totals['records'], 'record')} settled by {invocations}"
        if self.dry_run:
            begin = (
                f"Dry run: nothing was committed, and no offset was kept. {invocations} tried "
                f"{counted(totals['records'], 'record')}"
            )
        output.say(
            f"{begin}: {totals['appended']:,} appended, {totals['dead_lettered']:,} dead letters, "
            f"{totals['skipped_by_rule']:,} skipped by rule, {totals['duplicates']:,} duplicates; "
            f"{counted(totals['retries'], 'retry', 'retries')}. The function's log: {log}"
        )
        if unsettled := totals.get("unsettled"):
            output.complain(
                f"{counted(unsettled, 'record')} would stay unsettled, and their partitions would "
                "wait: too many are rejected for the circuit_breaker, or on_invalid is fail."
            )
        if not totals["rejects"]:
            return
        rows = [list(each.values()) for each in totals["rejects"][:REASONS_SHOWN]]
        title = "Records that would be rejected" if self.dry_run else "Dead letters"
        output.table(title, ["code", "path", "records", "example"], rows)
        if not self.dry_run:
            places = ", ".join(f"{uri}{DEAD_LETTERS_SUFFIX}" for uri in self.uris)
            output.say(
                f"They are stored in {places}. Once the contract or the producer is fixed: "
                f"{' and '.join(redrives)}"
            )
