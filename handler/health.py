"""Whether tables could be read and written from here: what `silt doctor` and the functions ask."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from handler.delta.log import TXN_RETENTION, TXNS_FORGOTTEN, Snapshot
from handler.delta.pool import Pool
from handler.delta.retry import Deadline
from handler.delta.store import Store
from handler.delta.tables import Table
from handler.errors import (
    AccessDenied,
    AlreadyExists,
    NotFound,
    OutOfTime,
    SettingsError,
    SiltError,
    StoreError,
    TableError,
    Unavailable,
)

T = TypeVar("T")
State = Literal["ok", "warning", "wrong", "unknown"]

PROBE_FOLDER = "_silt_probe"
"""Below a table's folder: readers and vacuums pass over names that begin with an underscore."""
PROBE = f"{PROBE_FOLDER}/probe"
CLOCK_SKEW_MAX_MS = 60_000
"""From here on a clock is wrong; a recreated topic is distinguished from a late record to within 5
minutes."""
REQUEST_LIMIT_S = 10.0
ATTEMPTS_MAX = 3
"""A request that failed this often is reported; the caller can ask again."""
_REACH = "Look at bucket, region, and the route to S3: in a VPC, a gateway endpoint."


class Finding(msgspec.Struct, frozen=True):
    """What one check found: of what, how it is, and where it is not well how to fix it."""

    check: str
    subject: str
    state: State
    reason: str
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the finding for a script."""
        fields = msgspec.structs.asdict(self)
        return fields if self.fix else {key: fields[key] for key in fields if key != "fix"}


def healthy(findings: Sequence[Finding]) -> bool:
    """Return whether nothing is wrong; a warning, or what could not be looked at, is not that."""
    return all(finding.state != "wrong" for finding in findings)


def answer(build: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return what a function answers to `{"silt": "health"}`."""
    reports = [finding.as_json() for finding in findings]
    return {"build": build, "healthy": healthy(findings), "findings": reports}


def log_findings(logger: Any, findings: Iterable[Finding]) -> None:
    """Log each finding, what is wrong as an error."""
    for finding in findings:
        log = logger.error if finding.state == "wrong" else logger.info
        log("health", extra=finding.as_json())


def describe(snapshot: Snapshot) -> str:
    """Return how a table is that could be read and fits its contract."""
    if not snapshot.exists:
        return "does not exist yet; the first record creates it"
    return f"version {snapshot.version}, matches the contract"


def of_table(name: str, look: Callable[[], str]) -> Finding:
    """Look at a table: `look` returns how it is, or raises what is wrong with it."""
    try:
        return Finding("table", name, "ok", look())
    except AccessDenied as error:
        fix = (
            "Allow s3:GetObject on its folder and s3:ListBucket on the bucket: docs/permissions.md"
        )
        return Finding("table", name, "wrong", str(error), fix)
    except TableError as error:
        return Finding("table", name, "wrong", str(error), "Fix the contract or the table.")
    except OutOfTime as error:
        return Finding("table", name, "unknown", str(error), "Is the store slow or unreachable?")
    except (StoreError, SettingsError) as error:
        return Finding("table", name, "wrong", str(error), _REACH)
    except SiltError as error:
        return Finding(
            "table", name, "wrong", str(error), "docs/troubleshooting.md explains the message."
        )
    except Exception as error:  # a contract that cannot be compiled stops no other topic
        reason = f"{type(error).__name__}: {error}"
        return Finding("table", name, "wrong", reason, "Run silt check for details.")


def of_log(name: str, table: Table) -> Iterator[Finding]:
    """Warn of what a table's log does that Silt works around, once the table was read."""
    for text, fix in warnings_of_log(table):
        yield Finding("log", name, "warning", text, fix)


def warnings_of_log(table: Table) -> list[tuple[str, str]]:
    """Return what a table's log does that Silt works around, each with its fix."""
    results = []
    if table.snapshot is not None and table.snapshot.forgets_txns:
        text = (
            f"{TXN_RETENTION} is set, or was: a checkpoint may have forgotten the watermark of a "
            "quiet stream, so every batch is looked up in the table's files"
        )
        fix = (
            f"ALTER TABLE ... UNSET TBLPROPERTIES ('{TXN_RETENTION}'); later {TXNS_FORGOTTEN} too: "
            "docs/troubleshooting.md#forgotten-watermarks"
        )
        results.append((text, fix))
    maintain = f"Run silt maintain {table.name}, or wait for the next run of maintenance."
    results += [
        (f"a checkpoint cannot be read and is skipped: {reason}", maintain)
        for reason in table.log.damage.reasons
    ]
    if table.log.damage.hint_is_wrong:
        results.append(("_last_checkpoint names a checkpoint that cannot be read", maintain))
    return results


def of_store(name: str, store: Store, pool: Pool, deadline: Deadline) -> Iterator[Finding]:
    """Try in a table's folder what an append needs; it leaves one empty object, `_silt_probe`.

    The first writer creates the object, and is refused the second time: that is the conditional
    put on which everything rests.
    """

    def ask(call: Callable[[], T]) -> T | SiltError:
        """Make a request, again where that may help; return what it brought, or its error."""
        what = f"try the store of {name}"
        try:
            for attempt in range(1, ATTEMPTS_MAX):
                deadline.begin(what)
                try:
                    return pool.one(call, min(REQUEST_LIMIT_S, deadline.left_s))
                except Unavailable as error:
                    deadline.failed(error)
                    deadline.wait(attempt, what)
            return pool.one(call, min(REQUEST_LIMIT_S, deadline.left_s))
        except SiltError as error:
            return error

    first = ask(lambda: store.put_if_absent(PROBE, b""))
    yield _conditional_put(name, first, ask(lambda: store.put_if_absent(PROBE, b"")))
    put = ask(lambda: store.put(PROBE, b""))
    yield _allowed("put", name, put, "s3:PutObject on its folder")
    yield _allowed("get", name, ask(lambda: store.get(PROBE)), "s3:GetObject on its folder")
    yield _missing(name, ask(lambda: store.get(f"{PROBE_FOLDER}/missing")))
    listed = ask(lambda: store.list(PROBE_FOLDER, f"{PROBE_FOLDER}/"))
    yield _allowed("list", name, listed, "s3:ListBucket on the bucket, for its folder")
    if isinstance(listed, SiltError) or isinstance(put, SiltError):
        return  # the probe is of another day, or not to be seen
    for entry in listed:
        if entry.key == PROBE:
            yield _clock(name, deadline.clock.epoch_ms() - entry.modified_ms)


def _conditional_put(name: str, first: object, again: object) -> Finding:
    if isinstance(again, AlreadyExists):
        return Finding("conditional put", name, "ok", "a second put-if-absent is refused")
    for result in (first, again):
        if isinstance(result, SiltError) and not isinstance(result, AlreadyExists):
            return _allowed("conditional put", name, result, "s3:PutObject on its folder")
    return Finding(
        "conditional put",
        name,
        "wrong",
        "the store accepted a put-if-absent although the object existed: two writers would "
        "overwrite each "
        "other's commits",
        "Use a store that honors If-None-Match, as Amazon S3 does. Nothing is safe without it.",
    )


def _allowed(check: str, name: str, result: object, needs: str) -> Finding:
    if isinstance(result, AccessDenied):
        return Finding(check, name, "wrong", str(result), f"Allow {needs}: docs/permissions.md")
    if isinstance(result, Unavailable | OutOfTime):
        return Finding(check, name, "unknown", str(result), _REACH)
    if isinstance(result, SiltError):
        return Finding(check, name, "wrong", str(result), _REACH)
    return Finding(check, name, "ok", "allowed")


def _missing(name: str, result: object) -> Finding:
    if isinstance(result, AccessDenied):
        return Finding(
            "missing object",
            name,
            "wrong",
            "a missing object is answered with 403, so a missing table or version looks like "
            "denied access",
            "Allow s3:ListBucket on the bucket, with StringLikeIfExists on s3:prefix: "
            "docs/permissions.md",
        )
    if isinstance(result, NotFound):
        return Finding("missing object", name, "ok", "answered with 404")
    return _allowed("missing object", name, result, "s3:GetObject on its folder")


def _clock(name: str, skew_ms: int) -> Finding:
    difference = (
        f"{abs(skew_ms) / 1000:.1f} s {'ahead of' if skew_ms > 0 else 'behind'} the store's"
    )
    if abs(skew_ms) <= CLOCK_SKEW_MAX_MS:
        return Finding("clock", name, "ok", f"at most {difference}")
    return Finding(
        "clock",
        name,
        "wrong",
        f"this machine's clock is {difference}",
        "Synchronize the clock by NTP. A recreated topic is recognized by timestamps, to "
        "within five minutes.",
    )
