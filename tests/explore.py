"""Every interleaving of small cases: actors over one store, run request by request.

Each actor is real code in a greenlet of its own; each of its requests asks the scheduler what comes
of it. The search runs the case again and again from its beginning, each time along another
schedule, until every state was seen. A state is what the store holds and what each actor has been
told so far: an actor is deterministic, so two schedules that lead there have one future, and only
one is followed.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from greenlet import getcurrent, greenlet

from handler.delta.log import commit_key, parse_commit
from handler.delta.offer_folder import FOLDER
from handler.delta.pool import Pool
from handler.delta.store import Entry, Object
from handler.errors import AlreadyExists, NotFound, StoreError, Unavailable
from tests.builders import NOW_MS

STEPS_MAX = 400


class Violation(AssertionError):
    """A schedule that breaks an invariant, with the schedule."""


@dataclass(slots=True)
class Objects:
    """What a store holds: bytes by key, and puts that are in progress and may land at any time."""

    data: dict[str, bytes] = field(default_factory=dict)
    late: list[tuple[str, bytes]] = field(default_factory=list)
    landed: list[tuple[str, bytes]] = field(default_factory=list)
    """Every put-if-absent that took effect, in order."""
    immutable: bool = True
    """Nothing is removed and no checkpoint is written in this case: to read what is there then
    commutes with all that others do, and needs no turn of its own."""

    def put_if_absent(self, key: str, data: bytes) -> None:
        if key in self.data:
            raise AlreadyExists(key)
        self.data[key] = data
        self.landed.append((key, data))

    def put_late(self, key: str, data: bytes) -> None:
        """Let a put take effect whose writer has not heard of it."""
        if is_offer(key):
            self.data[key] = data
        else:
            self.put_if_absent(key, data)

    def live(self, folder: str = "", base: int = 0) -> list[str]:
        """Return the files of a table, as its commits name them, from the `base`th on."""
        files: dict[str, None] = {}
        log = [(key, data) for key, data in self.landed if key.startswith(folder)]
        for number, (key, data) in enumerate(log[base:]):
            assert key == folder + commit_key(number), f"{key} went into the void: {number} is next"
            for action in parse_commit(data, key):
                if "remove" in action:
                    path = action["remove"]["path"]
                    assert path in files, f"{key} removes what is not there: {path}"
                    del files[path]
                elif "add" in action:
                    files[action["add"]["path"]] = None
        return list(files)

    def digest(self) -> bytes:
        whole = hashlib.blake2b(digest_size=16)
        for key in sorted(self.data):
            whole.update(key.encode())
            whole.update(hashlib.md5(self.data[key]).digest())
        whole.update(repr(sorted(self.late)).encode())
        return whole.digest()


def is_offer(key: str) -> bool:
    return f"{FOLDER}/" in key


def e_tag(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


class Asking:
    """A `Store` whose every request asks the scheduler when it takes effect, and if it is heard of.

    `folder` is the table's, with its slash, where there are several.
    """

    def __init__(self, objects: Objects, folder: str = "") -> None:
        self._objects = objects
        self._folder = folder

    def _ask(self, verb: str, key: str, effect: Callable[[], Any], data: bytes = b"") -> Any:
        outcome = getcurrent().parent.switch((verb, key))
        actor: Actor = getcurrent().actor  # type: ignore[attr-defined]
        if outcome == "late":
            # It lands at once (a lost answer), at any later moment, or never.
            self._objects.late.append((key, data))
            actor.hear(f"{verb} {key} {outcome}")
            raise Unavailable(outcome)
        try:
            answer = effect()
        except StoreError as error:
            actor.hear(f"{verb} {key} {type(error).__name__}")
            raise
        actor.hear(f"{verb} {key} {answer!r}")
        return answer

    def _read(self, verb: str, key: str, of: Callable[[bytes], Any]) -> Any:
        whole = self._folder + key

        def effect() -> Any:
            if whole not in self._objects.data:
                raise NotFound(whole)
            return of(self._objects.data[whole])

        never_comes = key == "_delta_log/_last_checkpoint"
        is_fixed = self._objects.immutable and not is_offer(key)
        if is_fixed and (never_comes or whole in self._objects.data):
            return effect()
        return self._ask(verb, whole, effect)

    def get(self, key: str) -> Object:
        return self._read("get", key, lambda data: Object(data, e_tag(data)))

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return self._read("get_ranges", key, lambda data: [data[a:b] for a, b in ranges])

    def head(self, key: str) -> str | None:
        return self._read("head", key, e_tag)

    def list(self, prefix: str, after: str) -> list[Entry]:
        def effect() -> list[Entry]:
            return [
                Entry(key.removeprefix(self._folder), len(data), e_tag(data), NOW_MS)
                for key, data in sorted(self._objects.data.items())
                if key.startswith(f"{self._folder}{prefix}/") and key > self._folder + after
            ]

        return self._ask("list", prefix, effect)

    def put(self, key: str, data: Any) -> None:
        # A data file has a name that nobody else knows yet: its put commutes with everything.
        whole = self._folder + key
        content = data.read_bytes() if isinstance(data, Path) else bytes(data)
        if is_offer(key) or key.startswith("_delta_log/"):
            verb = "offer" if is_offer(key) else "put"
            effect = partial(self._objects.data.__setitem__, whole, content)
            self._ask(verb, whole, effect, content)
        else:
            self._objects.data[whole] = content

    def put_if_absent(self, key: str, data: bytes) -> str | None:
        whole = self._folder + key
        self._ask("commit", whole, lambda: self._objects.put_if_absent(whole, data), data)
        return e_tag(data)


class InlinePool(Pool):
    """A pool that makes requests one after the other, in the caller's greenlet."""

    def __init__(self) -> None:
        pass

    def at_once(self, calls: Sequence[Callable[[], Any]], timeout_s: float) -> list[Any]:
        return [self._answer(call) for call in calls]

    def run_all(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        return [call() for call in calls]

    @staticmethod
    def _answer(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except StoreError as error:
            return error


class Actor(greenlet):
    """A program that runs until its next request.

    It does its operations one after the other. `waits` says that it begins each only when no other
    operation is in progress: what the world does between invocations, not within one.
    """

    def __init__(
        self, name: str, operations: Sequence[Callable[[], Any]], *, waits: bool = False
    ) -> None:
        super().__init__(self._run)
        self.name, self.waits = name, waits
        self._operations = operations
        self._history = hashlib.blake2b(digest_size=16)
        self.under_way = False
        self.results: list[Any] = []
        self.asked: tuple[str, str] | None = None
        self.ids = 0
        self.actor = self

    def _run(self) -> None:
        for operation in self._operations:
            self.parent.switch(("begin", ""))
            self.under_way = True
            self.results.append(operation())
            self.under_way = False
            self.hear(f"ended {self.results[-1]!r}")

    def hear(self, what: str) -> None:
        self._history.update(what.encode())

    def step(self, outcome: str | None) -> None:
        self.asked = self.switch(outcome) if outcome is not None else self.switch()

    def digest(self) -> bytes:
        return self._history.digest() + repr(self.asked).encode()

    def new_id(self) -> str:
        """Return what is unique, and the same in every run along this schedule."""
        self.ids += 1
        return f"{self.name}-{self.ids}"


def new_id() -> str:
    """Return an id for who asks: the same in every run along a schedule."""
    actor = getcurrent()
    return actor.new_id() if isinstance(actor, Actor) else "before"


@dataclass(slots=True)
class Case:
    """A small world: actors over one store, and what must hold whenever a commit has landed.

    `check` raises AssertionError; `at_end` is told so when every actor has ended.
    """

    objects: Objects
    actors: list[Actor]
    check: Callable[[bool], None]
    faults_max: int = 0


@dataclass(slots=True)
class Explored:
    """What a search has seen."""

    states: int = 0
    runs: int = 0
    schedules: int = 0


Choice = tuple[int, str]
"""Which actor goes on, and what comes of its request; or the number of a late put, negative."""


def _choices(case: Case, faults: int) -> list[Choice]:
    found: list[Choice] = []
    busy = any(actor.under_way for actor in case.actors)
    for i, actor in enumerate(case.actors):
        if actor.dead or (actor.waits and busy and not actor.under_way):
            continue
        verb = actor.asked[0] if actor.asked is not None else "begin"
        found.append((i, "ok"))
        if verb in ("commit", "offer") and faults < case.faults_max:
            found.append((i, "late"))
    found += [(-1 - i, "lands") for i in range(len(case.objects.late))]
    return found


def _take(case: Case, choice: Choice) -> bool:
    """Go one step; returns whether the log may have changed."""
    which, outcome = choice
    landed = len(case.objects.landed)
    if which < 0:
        key, data = case.objects.late.pop(-1 - which)
        try:
            case.objects.put_late(key, data)
        except AlreadyExists:
            return False
    else:
        case.actors[which].step(outcome)
    return len(case.objects.landed) != landed


def _run(
    build: Callable[[], Case], prefix: Sequence[Choice], graph: dict[bytes, list[bytes]]
) -> Iterator[list[Choice]]:
    """Follow one schedule, then the first choice at each state until a known one.

    Yields the schedules that branch off. A state's edges are kept in `graph`.
    """
    case = build()
    path: list[Choice] = []
    faults = 0
    try:
        for actor in case.actors:
            actor.step(None)
        state = b""
        while len(path) < STEPS_MAX:
            ended = all(actor.dead for actor in case.actors)
            known = _state(case, faults)
            if len(path) >= len(prefix):
                if state:
                    graph[state].append(known)
                if known in graph:
                    return
                graph[known] = []
                choices = _choices(case, faults)
                if ended:
                    case.check(True)
                if not choices:
                    return
                yield from ([*path, other] for other in choices[1:])
                choice = choices[0]
            else:
                choice = prefix[len(path)]
            state = known
            path.append(choice)
            faults += choice[0] >= 0 and choice[1] != "ok"
            if _take(case, choice):
                case.check(False)
        raise Violation(f"no end after {STEPS_MAX} steps")
    except AssertionError as error:
        response = [f"{case.actors[i].name if i >= 0 else 'late put'}: {what}" for i, what in path]
        raise Violation(f"{error}\nafter the schedule {response}") from error
    finally:
        for actor in case.actors:
            if not actor.dead:
                actor.throw()  # GreenletExit: nothing catches it


def _state(case: Case, faults: int) -> bytes:
    whole = hashlib.blake2b(case.objects.digest(), digest_size=16)
    for actor in case.actors:
        whole.update(actor.digest())
    whole.update(bytes([faults]))
    return whole.digest()


def explore(build: Callable[[], Case], *, states_max: int = 10**9) -> Explored:
    """Go through every schedule of a case. Raises Violation with the first that breaks it."""
    graph: dict[bytes, list[bytes]] = {}
    todo: list[list[Choice]] = [[]]
    explored = Explored()
    while todo and len(graph) < states_max:
        prefix = todo.pop()
        todo.extend(_run(build, prefix, graph))
        explored.runs += 1
    explored.states = len(graph)
    explored.schedules = _paths(graph)
    return explored


def _paths(graph: dict[bytes, list[bytes]]) -> int:
    """Return how many schedules lead from the first state to an end."""
    order: list[bytes] = []
    seen: set[bytes] = set()
    first = next(iter(graph))
    stack: list[tuple[bytes, bool]] = [(first, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(child, False) for child in graph[node]]
    count: dict[bytes, int] = {}
    for node in order:
        count[node] = sum(count[child] for child in graph[node]) if graph[node] else 1
    return count[first]
