"""What the function's log lines say of its invocations: counts, reasons, and what to do."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from handler.errors import counted

LINE_LIMIT_S = 2.0
"""So long after its answer the line of an invocation is waited for: it comes by a pipe."""
_ADVICE = {
    "circuit_breaker": "The contract or the producer is wrong: fix it, or raise the ratio of "
    "circuit_breaker so that rejects become dead letters",
    "on_invalid": "The contract says on_invalid: fail. Fix the contract or the producer, or use "
    "on_invalid: dead_letter",
}

Reason = tuple[str, str]
"""A code and a path."""


@dataclass(slots=True)
class InvocationLog:
    """The lines of one sandbox. `counts` are by the names of the accounting, of all invocations;
    of a dry run they are what would have become of the records.

    `on_warning` is given what the function warns of. `rejects` counts the reasons of new dead
    letters, with the place of one in `examples`.
    """

    on_warning: Callable[[str], None] = lambda _text: None
    counts: Counter[str] = field(default_factory=Counter)
    rejects: Counter[Reason] = field(default_factory=Counter)
    examples: dict[Reason, str] = field(default_factory=dict)
    _last: Mapping[str, Any] | None = None
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def read(self, line: bytes) -> None:
        """Take in a line of the log, whatever it is."""
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            return
        if not isinstance(entry, dict):
            return
        if entry.get("message") not in ("invocation", "invocation failed", "table failed"):
            if entry.get("level") in ("WARNING", "ERROR"):
                self.on_warning(str(entry.get("message")))
            return
        with self._arrived:
            # Of several tables, one that explains why records are unsettled comes first.
            if self._last is None:
                self._last = entry
            self._count(entry)
            self._arrived.notify_all()

    def forget(self) -> None:
        """Expect the line of the next invocation."""
        with self._arrived:
            self._last = None

    def wait(self) -> Mapping[str, Any] | None:
        """Return the line of the invocation that has just answered, None if it has none."""
        ends_at = time.monotonic() + LINE_LIMIT_S
        with self._arrived:
            while self._last is None and (left_s := ends_at - time.monotonic()) > 0:
                self._arrived.wait(left_s)
            return self._last

    def _count(self, entry: Mapping[str, Any]) -> None:
        for name in ("appended", "dead_lettered", "skipped_by_rule", "duplicates"):
            self.counts[name] += entry.get(name, 0)
        would = entry.get("would", {})
        self.counts["appended"] += would.get("append", 0)
        self.counts["dead_lettered"] += would.get("dead_letter", 0)
        self.counts["unsettled"] += would.get("leave_unsettled", 0)
        if "unsettled_because" not in entry or would:  # else they are no dead letters
            for each in entry.get("rejects", ()):
                reason = each["code"], each["path"]
                self.rejects[reason] += each["records"]
                self.examples.setdefault(reason, each["example"])


def explain(line: Mapping[str, Any]) -> str:
    """Return why records of an invocation are unsettled, and what to do, in a line."""
    if "reason" in line:  # it raised
        return str(line["reason"])
    why = line.get("unsettled_because", "")
    rejects = line.get("rejects", ())
    if why not in _ADVICE or not rejects:
        return str(why) or "the function did not settle them"
    rejected = sum(each["records"] for each in rejects)
    return (
        f"{why}: {rejected} of {counted(line['delivered'], 'record')} rejected: "
        f"{list_reasons(rejects)}. {_ADVICE[why]}."
    )


def list_reasons(rejects: Sequence[Mapping[str, Any]]) -> str:
    """Return reasons such as `98 wrong_type at after.birthday (orders-0:7)`."""
    return ", ".join(
        f"{each['records']:,} {each['code']} {'at ' if each['path'] else ''}{each['path']}".rstrip()
        + f" ({each['example']})"
        for each in rejects
    )


def merge_rejects(logs: Sequence[InvocationLog]) -> list[dict[str, Any]]:
    """Return the reasons of all new dead letters, the most frequent first."""
    total = sum((log.rejects for log in logs), Counter[Reason]())
    examples = {reason: each for log in logs for reason, each in log.examples.items()}
    return [
        {"code": code, "path": path, "records": count, "example": examples[code, path]}
        for (code, path), count in total.most_common()
    ]
