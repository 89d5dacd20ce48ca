"""The append as a compare-and-swap, as a model: what each writer may do next, and what must hold.

A log is a row of commits; a commit is (writer, records, watermark). A writer reads the whole log,
decides which of its records are new, and puts its commit as number N+1 if there is none. What it
hears of the put may be the truth or nothing, and a put of which it heard nothing lands now, later
or never. Then it reads again. Writers crash by never being chosen again, so every prefix of a run
is looked at.

The rule that is checked: a record is new if it is above every watermark of the log that was read,
of its own generation and of earlier ones, or if no commit of that log holds it. A writer is refused
by a log with a later generation. `rule` can be broken to see that the model notices.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.enumerate import states


class Commit(NamedTuple):
    writer: int
    records: frozenset[int]
    watermark: int
    generation: int = 0


class Writer(NamedTuple):
    batch: frozenset[int]
    at: str = "read"  # read -> put -> read ... -> settled, or refused
    based_on: int = 0  # how many commits it has read
    commit: Commit | None = None
    generation: int = 0


class State(NamedTuple):
    log: tuple[Commit, ...]
    writers: tuple[Writer, ...]
    late: frozenset[tuple[int, Commit]]  # puts in progress: the number they want, and the commit


RULES = (
    *("as it is", "watermark alone", "nothing is read again", "put without a condition"),
    "earlier generations do not count",
)


def decide(state: State, i: int, rule: str) -> Writer:
    """Read the log and decide, as the code does after every surprise."""
    writer, log = state.writers[i], state.log
    if writer.commit in log:
        return writer._replace(at="settled")
    if rule == "nothing is read again" and writer.commit is not None:
        return writer._replace(at="put", based_on=len(log))
    if any(c.generation > writer.generation for c in log):
        return writer._replace(at="refused")
    counted = log
    if rule == RULES[4]:
        counted = tuple(c for c in log if c.generation == writer.generation)
    watermark = max((c.watermark for c in counted), default=-1)
    held = frozenset().union(*(c.records for c in log))
    if rule == "watermark alone":
        held = frozenset(range(watermark + 1))
    new = frozenset(r for r in writer.batch if r > watermark or r not in held)
    if not new:
        return writer._replace(at="settled")
    own = max((c.watermark for c in log if c.generation == writer.generation), default=-1)
    commit = Commit(i, new, max(own, *new), writer.generation)
    return writer._replace(at="put", based_on=len(log), commit=commit)


def steps(state: State, rule: str = RULES[0]) -> Iterator[State]:
    for i, writer in enumerate(state.writers):

        def now(after: Writer, i: int = i, **more: object) -> State:
            writers = (*state.writers[:i], after, *state.writers[i + 1 :])
            return state._replace(writers=writers, **more)

        if writer.at == "read":
            yield now(decide(state, i, rule))
        elif writer.at == "put" and writer.commit is not None:
            free = len(state.log) == writer.based_on or rule == RULES[3]
            if free:
                log = (*state.log[: writer.based_on], writer.commit)
                yield now(writer._replace(at="settled"), log=log)
            else:
                yield now(writer._replace(at="read"))
            # No answer: the put may land at any time, or never.
            if len(state.late) < 2:
                late = state.late | {(writer.based_on, writer.commit)}
                yield now(writer._replace(at="read"), late=late)
    for number, commit in state.late:
        rest = state.late - {(number, commit)}
        lands = len(state.log) == number
        yield state._replace(log=(*state.log, commit) if lands else state.log, late=rest)


def holds(state: State) -> bool:
    """No record is there twice, and whoever says that its batch is settled is right."""
    records = [r for commit in state.log for r in commit.records]
    settled = frozenset().union(*(w.batch for w in state.writers if w.at == "settled"))
    return len(records) == len(set(records)) and settled <= set(records)


def check(
    batches: list[set[int]], rule: str = RULES[0], generations: tuple[int, ...] = ()
) -> tuple[int, list[State]]:
    """Enumerate writers of one stream with these batches, in any overlap and order.

    `generations` are those of the writers, 0 where none is given.
    """
    writers = tuple(
        Writer(frozenset(batch), generation=generations[i] if generations else 0)
        for i, batch in enumerate(batches)
    )
    return states(State((), writers, frozenset()), lambda s: steps(s, rule), holds)
