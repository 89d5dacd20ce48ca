"""Regular expressions of contracts: RE2, which needs time linear in the text whatever the pattern.

Python's `re` backtracks: one string of a producer can hold an invocation past its deadline. RE2 is
in Arrow, so it runs over a whole column. It has no lookaround and no backreferences, and its
classes are ASCII: https://github.com/google/re2/wiki/Syntax.
"""

import re
from collections.abc import Iterator

import msgspec
import pyarrow as pa

from handler.delta import compute

REPEAT_MAX = 1000
"""RE2 refuses larger counts of a repetition."""

COUNTED_MAX = 100
"""`error.{0,200}code` took 70 times as long as a plain pattern on texts made for it."""

_WORD = r"\pL\pN_"
_SPACE = (
    r"\t-\r\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
)
_LOOKAROUND = (
    "RE2 has no lookaround. Write what is allowed instead: a character class such as [^x], an "
    "`enum`, or two columns with a pattern each"
)
_GROUPS = (
    ("(?=", "the lookahead (?=...)", _LOOKAROUND),
    ("(?!", "the lookahead (?!...)", _LOOKAROUND),
    ("(?<=", "the lookbehind (?<=...)", _LOOKAROUND),
    ("(?<!", "the lookbehind (?<!...)", _LOOKAROUND),
    (
        "(?P=",
        "the backreference (?P=name)",
        "RE2 has no backreferences. Write out what is repeated",
    ),
    ("(?>", "the atomic group (?>...)", "RE2 never backtracks, so write (?:...)"),
    ("(?(", "the conditional (?(...)...)", "RE2 has no conditionals. Write both branches: (?:a|b)"),
    ("(?#", "the comment (?#...)", "RE2 has no comments. Put it into the YAML"),
)
_FLAGS = {
    "x": "RE2 has no verbose mode. Write the pattern without spaces and comments",
    "a": "RE2's \\w, \\d, \\s and \\b are ASCII already. Remove the flag",
    "u": "write \\pL for letters and \\p{Nd} for digits of every script, and remove the flag",
    "L": "RE2 has no locales. Remove the flag",
}
_ESCAPES = {
    "Z": r"write \z for the end of the text",
    "N": r"write the character itself, or its code point as \x{...}",
    "u": r"write \x{...}, such as \x{e4}, or the character itself",
    "U": r"write \x{...}, such as \x{1f600}, or the character itself",
    "h": r"write [\t ] instead",
    "R": r"write (?:\r\n|\n|\r) instead",
    "K": "a pattern only says whether it matches, so leave it out",
    "e": r"write \x1b",
}
_BACKREFERENCES = tuple("123456789")
_TWICE = re.compile(r"(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})(?:[*+]|\{[0-9]+(?:,[0-9]*)?\})")
_QUOTED = re.compile(r"\\Q.*?(?:\\E|$)", re.DOTALL)
_POSIX = re.compile(r"\[:\^?[a-z]+:\]")
_BRACED = re.compile(r"\\[xpP]\{[^}]*\}")
_OCTAL = re.compile(r"\\[0-7]{3}")
_MULTILINE = re.compile(r"\(\?[a-zA-Z]*m[a-zA-Z]*\)")
_COUNT = re.compile(r"\{([0-9]+)(?:,([0-9]*))?\}")

_REPEATS_TOO_OFTEN = (
    f"RE2 repeats at most {REPEAT_MAX} times, nested repetitions multiplied. Use min_length and "
    "max_length for lengths"
)


class PatternRefused(Exception):
    """RE2 does not know a construct of the pattern; the message names it and says another way."""


class Difference(msgspec.Struct, frozen=True):
    """A part of a pattern that RE2 reads otherwise than Python: what it is, and how it differs.

    `python` is the RE2 form of what Python means, `re2` a form that says RE2's meaning plainly.
    """

    construct: str
    meaning: str
    python: str
    re2: str

    def __str__(self) -> str:
        return (
            f"{self.construct} {self.meaning}. As in Python: {self.python}. To keep RE2's meaning "
            f"and silence this warning: {self.re2}"
        )


class _Token(msgspec.Struct, frozen=True):
    """One escape, group opening, class bracket or character, and whether it is within [...]."""

    text: str
    position: int
    in_class: bool


def check_pattern(pattern: str) -> None:
    """Raise PatternRefused if RE2 cannot run a pattern, or would read it as plain text."""
    for token in _tokens(pattern):
        _check_token(pattern, token)
    try:
        match_column(pa.array(["x"]), pattern)
    except (pa.ArrowException, UnicodeError) as error:
        reason = str(error).split("regular expression: ")[-1]
        raise PatternRefused(_explain(pattern, reason)) from error


def match_column(array: pa.Array, pattern: str) -> pa.Array:
    """Return which texts of a column have a match; null where there is no text."""
    return compute.match_substring_regex(array, pattern)


def matches(pattern: str, text: str) -> bool:
    """Return whether a pattern matches somewhere in one text."""
    return bool(match_column(pa.array([text], pa.string()), pattern)[0].as_py())


def differences(pattern: str) -> list[Difference]:
    """Return where RE2 reads a valid pattern otherwise than Python's `re` would, each kind once."""
    multiline = _MULTILINE.match(pattern) is not None
    result: dict[str, Difference] = {}
    for token in _tokens(pattern):
        if (difference := _difference(token, multiline=multiline)) is not None:
            result.setdefault(difference.construct, difference)
    return list(result.values())


def slow_repetitions(pattern: str) -> int | None:
    """Return how many characters a pattern counts one by one, None for so few that it is fast.

    RE2 takes time linear in the text, but it may have to follow each of them at once.
    """
    counts = [
        match
        for token in _tokens(pattern)
        if token.text == "{" and not token.in_class
        if (match := _COUNT.match(pattern, token.position)) is not None
    ]
    counted = sum(int(match[2] or match[1]) for match in counts)
    return counted if counted > COUNTED_MAX else None


def _difference(token: _Token, *, multiline: bool) -> Difference | None:
    inside = token.in_class
    match token.text:
        case "\\w":
            python = _WORD if inside else f"[{_WORD}]"
            meaning = "is [0-9A-Za-z_] in RE2, and letters and digits of every script in Python"
            return Difference("\\w", meaning, python, "0-9A-Za-z_" if inside else "[0-9A-Za-z_]")
        case "\\W" if not inside:
            meaning = "is [^0-9A-Za-z_] in RE2; in Python it excludes letters of every script"
            return Difference("\\W", meaning, f"[^{_WORD}]", "[^0-9A-Za-z_]")
        case "\\d":
            meaning = "is [0-9] in RE2, and the digits of every script in Python"
            return Difference("\\d", meaning, r"\p{Nd}", "0-9" if inside else "[0-9]")
        case "\\D":
            meaning = "is [^0-9] in RE2; in Python it excludes the digits of every script"
            return Difference("\\D", meaning, r"\P{Nd}", "[^0-9]")
        case "\\s":
            meaning = r"is [\t\n\f\r ] in RE2, and every Unicode space in Python"
            python = _SPACE if inside else f"[{_SPACE}]"
            return Difference("\\s", meaning, python, r"\t\n\f\r " if inside else r"[\t\n\f\r ]")
        case "\\S" if not inside:
            meaning = r"is [^\t\n\f\r ] in RE2; in Python it excludes every Unicode space"
            return Difference("\\S", meaning, f"[^{_SPACE}]", r"[^\t\n\f\r ]")
        case "\\W" | "\\S":
            meaning = "is ASCII in RE2, and Unicode in Python"
            return Difference(
                token.text, meaning, "a class of its own, outside of [...]", "the same"
            )
        case "\\b" if not inside:
            meaning = "is a boundary of [0-9A-Za-z_] in RE2, and of every script's words in Python"
            python = f"(?:^|[^{_WORD}]) before a word, (?:[^{_WORD}]|\\z) after it"
            re2 = r"(?:^|[^0-9A-Za-z_]) before a word, (?:[^0-9A-Za-z_]|\z) after it"
            return Difference("\\b", meaning, python, re2)
        case "\\B" if not inside:
            meaning = "is not a boundary of [0-9A-Za-z_] in RE2, and of no script's words in Python"
            return Difference(
                "\\B", meaning, f"[{_WORD}] on both sides", "[0-9A-Za-z_] on both sides"
            )
        case "$" if not inside and not multiline:
            meaning = "is the end of the text in RE2; in Python also before a line break at the end"
            return Difference("$", meaning, r"\n?\z", r"\z")
    return None


def _check_token(pattern: str, token: _Token) -> None:
    text, rest = token.text, pattern[token.position :]
    escaped = text[1:] if text.startswith("\\") else ""
    if escaped in _BACKREFERENCES and not token.in_class and not _OCTAL.match(rest):
        raise PatternRefused(
            f"{text} is a backreference, which RE2 does not have. Write out what is repeated"
        )
    if (advice := _ESCAPES.get(escaped)) is not None:
        raise PatternRefused(f"RE2 does not know the escape {text}: {advice}")
    if text == "(" and not token.in_class:
        _check_group(rest)
    elif text == "{" and not token.in_class:
        _check_repetition(rest)


def _check_group(rest: str) -> None:
    for opening, name, advice in _GROUPS:
        if rest.startswith(opening):
            raise PatternRefused(f"RE2 does not know {name}. {advice}")
    flags = re.match(r"\(\?([a-zA-Z]+)[:)-]", rest)
    for flag in flags[1] if flags is not None else ():
        if flag in _FLAGS:
            raise PatternRefused(f"RE2 does not know the flag (?{flag}): {_FLAGS[flag]}")


def _check_repetition(rest: str) -> None:
    if counts := _COUNT.match(rest):
        if any(len(n) > 4 or int(n) > REPEAT_MAX for n in counts.groups() if n):
            raise PatternRefused(_REPEATS_TOO_OFTEN)  # RE2 reads the largest ones as plain text
    elif written := re.match(r"\{,([0-9]*)\}", rest):
        raise PatternRefused(
            f"RE2 reads {written[0]} as plain text. Write {{0,{written[1]}}} for a repetition, or "
            f"\\{written[0]} for the text"
        )


def _explain(pattern: str, reason: str) -> str:
    """Return RE2's own refusal with a way out."""
    if reason.startswith("invalid repetition size"):
        return _REPEATS_TOO_OFTEN
    if reason.startswith("bad repetition operator") and (twice := _TWICE.search(pattern)):
        return (
            f"RE2 does not know {twice[0]}: it never backtracks, so a possessive or repeated "
            "repetition means nothing. Write one of them, or put a group around the first"
        )
    if reason.startswith("pattern too large"):
        return "the pattern is too large for RE2. Use lower counts in {...}"
    return f"this is not a valid RE2 regular expression: {reason}"


def _tokens(pattern: str) -> Iterator[_Token]:
    """Yield the escapes, brackets and characters of a pattern with their places.

    What RE2 reads as text between \\Q and \\E, and classes such as [:alpha:], are left out.
    """
    position, in_class, class_start = 0, False, -1
    while position < len(pattern):
        rest = pattern[position:]
        text = rest[: 2 if rest[0] == "\\" else 1]
        skipped = _QUOTED.match(rest) or (_POSIX.match(rest) if in_class else None)
        if skipped is not None:
            position += len(skipped[0])
            continue
        yield _Token(text, position, in_class)
        if (braced := _BRACED.match(rest)) is not None:
            text = braced[0]
        if text == "[" and not in_class:
            in_class, class_start = True, position + 1
            if rest[1:2] == "^":
                position += 1
                class_start += 1
        elif text == "]" and in_class and position > class_start:
            in_class = False
        position += len(text)
