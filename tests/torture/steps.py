"""The named steps of an invocation, and what ends or freezes a process at one of them.

The function itself knows nothing of this: its own functions are wrapped from outside, in a process
that is made to die. In production there is no hook, so it costs nothing.
"""

import functools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from handler import app
from handler.delta import commit
from handler.delta.store import ObjectStore
from handler.delta.tables import Table
from handler.sink import writer
from handler.sink.terms import Terms
from handler.validate.batch import Checker

STEPS: dict[str, tuple[Any, str]] = {
    "parse": (app, "parse_event"),
    "agree": (Terms, "agree"),
    "snapshot": (Table, "read"),
    "check": (Checker, "check"),
    "look-up": (Table, "look_up"),
    "decide": (writer, "decide"),
    "stage": (commit.Transaction, "stage"),
    "data-put": (ObjectStore, "put"),
    "look": (Table, "is_current"),
    "commit": (ObjectStore, "put_if_absent"),
    "catch-up": (commit, "catch_up"),
    "answer": (app, "report_invocation"),
}
"""Each step of an invocation, in order, with the function that does it."""
VARIABLE = "TORTURE_AT"


@dataclass(frozen=True, slots=True)
class Moment:
    """The n-th time (from 1) that a process comes to a step, before or after it."""

    step: str
    when: Literal["before", "after"]
    nth: int = 1
    signal: Literal["KILL", "STOP"] = "KILL"

    def __str__(self) -> str:
        return f"{self.step}:{self.when}:{self.nth}:{self.signal}"

    @classmethod
    def of(cls, text: str) -> "Moment":
        step, when, nth, name = text.split(":")
        return cls(step, when, int(nth), name)  # type: ignore[arg-type]


def install(moment: Moment) -> None:
    """Make this process die, or freeze, at a moment."""
    owner, name = STEPS[moment.step]
    setattr(owner, name, _wrapped(getattr(owner, name), moment))


def _wrapped(inner: Callable[..., Any], moment: Moment) -> Callable[..., Any]:
    left = [moment.nth]

    def reach() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), getattr(signal, f"SIG{moment.signal}"))

    @functools.wraps(inner)
    def step(*arguments: Any, **named: Any) -> Any:
        if moment.when == "before":
            reach()
        try:
            return inner(*arguments, **named)
        finally:
            if moment.when == "after":
                reach()

    return step
