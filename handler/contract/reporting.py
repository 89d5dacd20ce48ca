"""What is wrong with a contract, and where."""

from collections.abc import Callable, Iterable

Path = tuple[str | int, ...]
"""The keys and indices that lead to a value of a YAML file."""
Report = Callable[[Path, str], None]
"""Takes the place of a problem, and the problem in words."""


def nearest(word: str, words: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` or nothing, for the end of a message."""
    # Only where something is wrong: it takes 5 ms to import.
    from difflib import get_close_matches

    close = get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f". Did you mean {close[0]!r}?" if close else ""
