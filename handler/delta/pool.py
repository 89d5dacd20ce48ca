"""Requests in progress at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from time import monotonic
from typing import Any, TypeVar

from handler.errors import StoreError, Unavailable

T = TypeVar("T")

PARALLEL_MAX = 32
"""At most so many requests are in progress at once."""


class Pool:
    """Requests in progress at once, each with a bound on how long it is waited for."""

    def __init__(self, parallel_max: int = PARALLEL_MAX) -> None:
        self._executor = ThreadPoolExecutor(parallel_max, thread_name_prefix="silt-request")

    def at_once(self, calls: Sequence[Callable[[], T]], timeout_s: float) -> list[T | StoreError]:
        """Make requests at once and return each one's result or error, in order.

        A request that is not answered in time counts as Unavailable: it may still take effect. If
        one raises something other than a StoreError, that is raised, and the others go on.
        """
        ends_at = monotonic() + timeout_s
        futures = [self._executor.submit(call) for call in calls]
        return [self._result(future, timeout_s, ends_at) for future in futures]

    def run_all(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Do several things at once that make requests one after the other.

        They bound their time themselves. Raises the first error, in their order, when all of them
        have ended.
        """
        # Threads of their own: in those of the requests they could keep each other waiting.
        with ThreadPoolExecutor(len(calls), thread_name_prefix="silt-reads") as executor:
            futures = [executor.submit(call) for call in calls]
        return [future.result() for future in futures]

    @staticmethod
    def _result(future: "Future[Any]", timeout_s: float, ends_at: float) -> Any:
        try:
            return future.result(max(ends_at - monotonic(), 0.0))
        except StoreError as error:
            return error
        except FutureTimeout:
            future.cancel()
            return Unavailable(f"No answer within {timeout_s:.1f} s.")

    def one(self, call: Callable[[], T], timeout_s: float) -> T:
        """Make one request.

        Raises what it raised, or Unavailable when it is not answered in time.
        """
        result = self.at_once([call], timeout_s)[0]
        if isinstance(result, StoreError):
            raise result
        return result
