"""Who may rewrite a table: a lease in the table's own log.

The lease is a `txn` action of an appId of its own. Its version counts the leases: odd is held, even
is free; its time says when it was taken or renewed. It is put by the compare-and-swap of any other
commit, so of two that want it one is first, and the other reads that it came second. A holder that
is killed loses it by time.

The lease saves work; it is not what keeps rows from doubling. A holder that slept past its time
finds that the engine refuses its commit: the files that it merged are gone (decision 0010).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from handler.delta import swap
from handler.delta.log import Change, Snapshot, Txn
from handler.delta.patience import Patience
from handler.delta.tables import Table

LEASE = "silt-maintenance-lease"
LEASE_MS = 16 * 60_000
"""Longer than a Lambda invocation can last."""
VACUUMED = "silt-maintenance-vacuum"
"""The txn whose time says when the table was last vacuumed and its log cleaned."""


def holder(snapshot: Snapshot, now_ms: int) -> int | None:
    """Return the number of the lease that is held now, None if it is free.

    One from the future by more than its length was taken by a clock that is wrong: it holds nobody
    up.
    """
    txn = snapshot.txns.get(LEASE)
    if txn is None or txn.version % 2 == 0:
        return None
    return txn.version if abs(now_ms - (txn.last_updated_ms or 0)) < LEASE_MS else None


@dataclass(slots=True)
class Lease:
    """A lease that was taken. `renewed_ms` is the time of the last commit of it."""

    table: Table
    number: int
    renewed_ms: int

    @classmethod
    def take(cls, table: Table, patience: Patience) -> "Lease | None":
        """Take the lease of a table; None if another holds it."""
        taken = list[int]()

        def decide(_done: frozenset[int]) -> list[Change | None]:
            snapshot = table.known(patience)
            taken.clear()
            if holder(snapshot, patience.clock.epoch_ms()) is not None:
                return [None]
            last = snapshot.txns.get(LEASE, Txn(0)).version
            taken.append(last + 1 + last % 2)
            return [_change(taken[0], "take the lease")]

        now_ms = patience.clock.epoch_ms()
        _swap(table, decide, patience)
        return cls(table, taken[0], now_ms) if taken else None

    def renew(self, patience: Patience, done: str | None = None) -> bool:
        """Hold the lease for its whole length from now, noting by the appId `done` what was done.

        Returns False if it is lost.
        """
        now_ms = patience.clock.epoch_ms()
        if not self._commit(Txn(self.number), "renew the lease", patience, done):
            return False
        self.renewed_ms = now_ms
        return True

    def release(self, patience: Patience) -> bool:
        """Give the lease back. Returns False if it is lost."""
        return self._commit(Txn(self.number + 1), "release the lease", patience, None)

    def _commit(self, txn: Txn, what: str, patience: Patience, done: str | None) -> bool:
        held = list[bool]()

        def decide(_done: frozenset[int]) -> list[Change | None]:
            snapshot = self.table.known(patience)
            held[:] = [snapshot.txns.get(LEASE, Txn(0)).version == self.number]
            if not held[0]:
                return [None]
            count = snapshot.txns.get(done or "", Txn(0)).version + 1
            return [_change(txn.version, what, {done: Txn(count)} if done is not None else {})]

        _swap(self.table, decide, patience)
        return held[0]


def _swap(table: Table, decide: swap.Decide, patience: Patience) -> None:
    # Minutes may have passed since the snapshot was read: the table may have been made anew.
    table.confirmed = False
    swap.append([table], decide, patience)


def _change(number: int, what: str, more: Mapping[str, Txn] = MappingProxyType({})) -> Change:
    info = {"operation": "MAINTENANCE", "operationParameters": {"what": what}}
    return Change(files=(), txns={LEASE: Txn(number), **more}, info=info)
