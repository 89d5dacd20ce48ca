"""Stores in memory that can fail, lie or lose the answer at each request, and that count them."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from typing import Any

from obstore.store import MemoryStore

from handler.delta.pool import Pool
from handler.delta.store import Entry, Object, ObjectStore
from handler.errors import NotFound, StoreError

Hook = Callable[[str, str], None]


def nothing(_verb: str, _key: str) -> None:
    """Let a request go through."""


@dataclass
class Memory:
    """Tables in memory. `before` and `after` see each request and may raise a StoreError.

    What `after` raises is a lost answer: the request took effect. `requests` are verb and key, in
    order.
    """

    before: Hook = nothing
    after: Hook = nothing
    requests: list[tuple[str, str]] = field(default_factory=list)
    stores: dict[str, ObjectStore] = field(default_factory=dict)

    def open(self, uri: str) -> "MemoryTable":
        """Open the folder of one table."""
        inner = self.stores.setdefault(uri, ObjectStore(MemoryStore()))
        return MemoryTable(inner, self)

    def count(self, verb: str) -> int:
        """Return how many requests of a kind were made."""
        return sum(1 for v, _ in self.requests if v == verb)


class MemoryTable:
    """A `Store` over one of the memory's folders."""

    def __init__(self, inner: ObjectStore, memory: Memory) -> None:
        self._inner = inner
        self._memory = memory

    def _do(self, verb: str, key: str, call: Callable[[], Any]) -> Any:
        self._memory.requests.append((verb, key))
        self._memory.before(verb, key)
        try:
            result = call()
        except StoreError:
            self._memory.after(verb, key)
            raise
        self._memory.after(verb, key)
        return result

    def get(self, key: str) -> Object:
        return self._do("get", key, lambda: self._inner.get(key))

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return self._do("get_ranges", key, lambda: self._inner.get_ranges(key, ranges))

    def head(self, key: str) -> str | None:
        return self._do("head", key, lambda: self._inner.head(key))

    def list(self, prefix: str, after: str) -> list[Entry]:
        return self._do("list", prefix, lambda: self._inner.list(prefix, after))

    def put(self, key: str, data: Any) -> None:
        self._do("put", key, lambda: self._inner.put(key, data))

    def put_if_absent(self, key: str, data: bytes) -> str | None:
        return self._do("put_if_absent", key, lambda: self._inner.put_if_absent(key, data))


class CountingPool(Pool):
    """A pool that counts its rounds: how many requests were made at once, after those before."""

    def __init__(self) -> None:
        super().__init__(4)
        self.rounds: list[int] = []
        self._own = threading.local()

    def at_once(self, calls: Sequence[Callable[[], Any]], timeout_s: float) -> list[Any]:
        if calls:
            self._mine().append(len(calls))
        return super().at_once(calls, timeout_s)

    def run_all(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        counts: list[list[int]] = [[] for _ in calls]

        def run(rounds: list[int], call: Callable[[], Any]) -> Any:
            self._own.rounds = rounds
            return call()

        answers = super().run_all(
            [partial(run, rounds, call) for rounds, call in zip(counts, calls, strict=True)]
        )
        self._mine().extend(map(sum, zip_longest(*counts, fillvalue=0)))
        return answers

    def _mine(self) -> list[int]:
        return getattr(self._own, "rounds", self.rounds)


def fail_once(verb: str, part: str, error: StoreError) -> Hook:
    """Return a hook that fails the first request of a kind whose key contains `part`."""
    done = []

    def hook(v: str, key: str) -> None:
        if v == verb and part in key and not done:
            done.append(key)
            raise error

    return hook


__all__ = ["CountingPool", "Memory", "MemoryTable", "NotFound", "fail_once", "nothing"]
