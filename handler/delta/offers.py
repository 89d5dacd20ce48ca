"""Appends that are offered to other writers of a table, and the commit that takes them along.

A writer that met many others puts its append into a folder of the table, decided and with its data
files in place. The next writer that commits may take it along, on the condition on which its owner
may commit it: nothing that was committed since the decision makes it void. The owner reads the log,
and finds its append there or not. That an offer is there, or is not, proves nothing. Once it was
taken along it is void, because that commit names its streams.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
import orjson

from handler.delta.change import Change, conflict_with, encode_append
from handler.delta.log import ENGINE, Snapshot
from handler.delta.recent import Guest, RecentCommit, TxnAction

OFFERS_MAX = 32
"""At most so many are taken along by one commit."""
BYTES_MAX = 256 * 1024
"""A larger append is not offered: its owner commits it."""
MergeInfo = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any] | None]
"""Returns the `info` of two appends as that of one, None if they cannot be one."""


class Offer(msgspec.Struct, frozen=True):
    """An append that any writer of the same build may commit.

    It was decided from version `base` of the table, whose commit has the id `base_id`, when the
    table had `streams` appIds. `depends_on` are those appIds that it was decided by and does not
    name itself.
    """

    build: str
    commit_id: str
    writer: str
    base: int
    base_id: str
    streams: int
    depends_on: tuple[str, ...]
    txns: Annotated[tuple[TxnAction, ...], msgspec.Meta(min_length=1)]
    adds: tuple[dict[str, Any], ...]
    rows: int
    info: dict[str, Any]

    @property
    def concerned(self) -> frozenset[str]:
        """Return the appIds that no other commit may name."""
        return frozenset((*self.depends_on, *(txn["appId"] for txn in self.txns)))

    @property
    def actions(self) -> list[dict[str, Any]]:
        """Return the append as actions of the log."""
        return [*({"txn": txn} for txn in self.txns), *({"add": add} for add in self.adds)]


class JointAppend(msgspec.Struct, frozen=True):
    """An append, and those of others that are committed with it. `info` is that of all of them."""

    own: Change
    offers: tuple[Offer, ...]
    info: Mapping[str, Any]

    @property
    def guests(self) -> list[Guest]:
        """Return whose appends are taken along."""
        return [Guest(offer.commit_id, offer.writer) for offer in self.offers]

    def body(self, commit_id: str, now_ms: int, note: Mapping[str, Any]) -> bytes:
        """Return it as a commit of the log. `note` goes into its `commitInfo`."""
        actions = self.own.actions(now_ms)
        for offer in self.offers:
            actions += offer.actions
        rows = self.own.rows + sum(offer.rows for offer in self.offers)
        facts = {"txnId": commit_id, **note, **self.info}
        return encode_append(actions, rows, facts, now_ms)


def write_offer(
    change: Change,
    commit_id: str,
    writer: str,
    snapshot: Snapshot,
    recent: Sequence[RecentCommit | None],
    now_ms: int,
) -> bytes | None:
    """Return a decided append as an offer; None for one that only its owner can commit.

    `recent` are the commits that the snapshot ends with.
    """
    base = recent[-1] if recent else None
    if base is None or base.commit_id is None or not can_be_offered(change, snapshot):
        return None
    actions = change.actions(now_ms)
    offer = Offer(
        build=ENGINE,
        commit_id=commit_id,
        writer=writer,
        base=snapshot.version,
        base_id=base.commit_id,
        streams=len(snapshot.txns),
        depends_on=tuple(sorted(change.depends_on)),
        txns=tuple(action["txn"] for action in actions if "txn" in action),
        adds=tuple(action["add"] for action in actions if "add" in action),
        rows=change.rows,
        info=dict(change.info),
    )
    data = orjson.dumps(msgspec.to_builtins(offer))
    return data if len(data) <= BYTES_MAX else None


def can_be_offered(change: Change, snapshot: Snapshot) -> bool:
    """Return whether an append is only files and watermarks, of a table that keeps watermarks: then
    a commit that makes it void can be recognized by anybody.
    """
    is_plain = change.metadata is None and change.protocol is None and not change.replaces_schema
    return is_plain and bool(change.txns) and not snapshot.forgets_txns


def parse_offer(data: bytes) -> Offer | None:
    """Read an offer, None for what is not one of this build: another may count in another way."""
    try:
        offer = msgspec.convert(orjson.loads(data), Offer)
    except (orjson.JSONDecodeError, msgspec.ValidationError):
        return None
    is_whole = all(isinstance(add.get("size"), int) and "path" in add for add in offer.adds)
    return offer if offer.build == ENGINE and is_whole else None


def join_offers(
    own: Change,
    offers: Sequence[Offer],
    snapshot: Snapshot,
    recent: Sequence[RecentCommit | None],
    merge_info: MergeInfo,
) -> JointAppend:
    """Return an append, decided from a snapshot, with those offers that can be committed with it.

    `recent` are the commits that the snapshot ends with.
    """
    actions = own.actions(0)
    info: Mapping[str, Any] = own.info
    taken = list[Offer]()
    for offer in offers:
        if len(taken) == OFFERS_MAX:
            break
        if not is_valid(offer, snapshot, recent):
            continue
        if conflict_with(actions, snapshot, offer.concerned) is not None:
            continue
        if (merged := merge_info(info, offer.info)) is None:
            continue
        info = merged
        taken.append(offer)
        actions += offer.actions
    return JointAppend(own, tuple(taken), info)


def is_valid(offer: Offer, snapshot: Snapshot, recent: Sequence[RecentCommit | None]) -> bool:
    """Return whether an append may become the commit after a snapshot.

    The commit that it was decided from must be one of `recent`, and none after it may make it void.
    Nor may one have brought another stream: a table never loses one, so their number says that.
    """
    behind = snapshot.version - offer.base
    if not 0 <= behind < len(recent) or len(snapshot.txns) != offer.streams:
        return False
    base, *since = list(recent)[len(recent) - behind - 1 :]
    if base is None or base.commit_id != offer.base_id:
        return False
    for each in since:
        if each is None or conflict_with(each.actions(), snapshot, offer.concerned) is not None:
            return False
    return not snapshot.forgets_txns
