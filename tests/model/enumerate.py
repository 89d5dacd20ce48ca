"""Breadth first through all states of a model."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

State = TypeVar("State", bound=Hashable)


def states(
    first: State, steps: Callable[[State], Iterable[State]], holds: Callable[[State], bool]
) -> tuple[int, list[State]]:
    """Return how many states there are, and the shortest way to one in which `holds` fails."""
    came_from: dict[State, State | None] = {first: None}
    todo = deque([first])
    while todo:
        state = todo.popleft()
        if not holds(state):
            way = [state]
            while (before := came_from[way[0]]) is not None:
                way.insert(0, before)
            return len(came_from), way
        for after in steps(state):
            if after not in came_from:
                came_from[after] = state
                todo.append(after)
    return len(came_from), []
