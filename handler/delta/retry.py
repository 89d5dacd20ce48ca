"""Requests that are made again: the clock, the deadline, and how long to wait."""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from handler.delta.pool import Pool
from handler.errors import OutOfTime, StoreError, Unavailable

ATTEMPT_MIN_S = 0.5
"""An attempt with less time than this left is not begun: it could not end and be understood."""
_CEILING_S = 2.0
_FIRST_S = 0.02
_DOUBLINGS_MAX = 7
_ROUNDS, _SOONER = 0.1, 0.75
"""Chosen by `make contention` (decision 0009)."""


class Clock(Protocol):
    """What tells the time and passes it; tests bring their own."""

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        ...

    def epoch_ms(self) -> int:
        """Return milliseconds since 1970, UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    def epoch_ms(self) -> int:
        """Return milliseconds since 1970, UTC."""
        return time.time_ns() // 1_000_000

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)


RETRIED = (
    "What is not committed is reported as unsettled and will be retried. If this happens often, "
    "raise the function's timeout: troubleshooting.md#out-of-time"
)
NEXT_RUN = "What is not done is done in the next run."


class Deadline(msgspec.Struct):
    """How long one invocation may go on, and how it waits. Counts what it took.

    `ends_at` is in seconds of the clock's `monotonic`. `attempts` are commits that were put,
    `conflicts` those that found their version taken, `retries` requests that were made again.
    `consequence` says what becomes of the rest when the time is up.
    """

    clock: Clock
    ends_at: float
    random: Callable[[], float] = random.random
    attempts: int = 0
    conflicts: int = 0
    retries: int = 0
    last_error: Unavailable | None = None
    consequence: str = RETRIED

    @property
    def left_s(self) -> float:
        """Return the seconds until the deadline; negative when it has passed."""
        return self.ends_at - self.clock.monotonic()

    def until(self, ends_at: float) -> "Deadline":
        """Return the deadline of a part of the work, which has to end earlier."""
        return Deadline(self.clock, ends_at, random=self.random, consequence=self.consequence)

    def add(self, part: "Deadline") -> None:
        """Count what a part of the work took."""
        self.attempts += part.attempts
        self.conflicts += part.conflicts
        self.retries += part.retries

    def begin(self, what: str) -> None:
        """Allow an attempt, or raise OutOfTime because it could not end in the time left."""
        if self.left_s < ATTEMPT_MIN_S:
            raise self._out_of_time(what)

    def failed(self, error: Unavailable) -> None:
        """Note a request that has to be made again."""
        self.retries += 1
        self.last_error = error

    def _out_of_time(self, what: str) -> OutOfTime:
        last = f"The store's last error: {self.last_error} " if self.last_error else ""
        return OutOfTime(
            f"{max(self.left_s, 0):.1f} s are left before the deadline: too few to {what}. {last}"
            f"{self.consequence}"
        )

    def wait(self, attempt: int, what: str) -> None:
        """Wait before attempt number `attempt` (from 1): exponential with full jitter, because a
        store that is down is left alone longer and longer.

        Raises OutOfTime when the attempt after the wait could not end in the time left.
        """
        ceiling_s = min(_CEILING_S, _FIRST_S * 2 ** min(attempt, _DOUBLINGS_MAX))
        self._sleep(self.random() * ceiling_s, what)

    def wait_turn(self, lost: int, round_s: float, what: str) -> None:
        """Wait after so many lost races in a row, where `round_s` is the time in which each writer
        of a table could make one request.

        So a few of many writers try at a time, and those that have lost more often try sooner
        (decision 0009). Raises OutOfTime like `wait`.
        """
        self.wait_between(0.0, _ROUNDS * round_s / (1 + _SOONER * (lost - 1)), what)

    def wait_between(self, low_s: float, high_s: float, what: str) -> None:
        """Wait for a random time, shorter where the time left asks for it.

        Raises OutOfTime like `wait`.
        """
        high_s = min(high_s, max(0.0, self.left_s - ATTEMPT_MIN_S))
        low_s = min(low_s, high_s / 2)
        self._sleep(low_s + self.random() * (high_s - low_s), what)

    def _sleep(self, delay_s: float, what: str) -> None:
        if self.left_s - delay_s < ATTEMPT_MIN_S:
            raise self._out_of_time(what)
        self.clock.sleep(delay_s)


def request_all(
    calls: Sequence[Callable[[], Any]], pool: Pool, deadline: Deadline, what: str
) -> list[Any]:
    """Make requests at once, again those that may pass, until all are answered.

    Raises StoreError.
    """
    results: list[Any] = [None] * len(calls)
    pending = list(range(len(calls)))
    attempt = 0
    while pending:
        deadline.begin(what)
        answers = pool.at_once([calls[i] for i in pending], deadline.left_s)
        again = []
        for i, answer in zip(pending, answers, strict=True):
            if isinstance(answer, Unavailable):
                deadline.failed(answer)
                again.append(i)
            elif isinstance(answer, StoreError):
                raise answer
            else:
                results[i] = answer
        pending = again
        if pending:
            attempt += 1
            deadline.wait(attempt, what)
    return results
