"""Masking: what a record says is replaced, and its form stays.

A letter becomes `a`, a digit `1`; lengths, punctuation, names of fields, true, false and null stay.
So dates, numbers, ids and nested structures remain valid, and no value can be read. What looks like
a time keeps its `T` and `Z`. Of what is not JSON all is replaced.
"""

import json
import re

_TOKEN = re.compile(
    r'"(?P<string>(?:[^"\\]|\\.)*)"(?P<colon>\s*:)?|(?P<number>-?\d+(?:\.\d+)?)(?P<exponent>[eE][+-]?\d+)?',
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}|\\.|.", re.DOTALL)
_CHARACTER = re.compile(r".", re.DOTALL)
_TIME = re.compile(r"[-+:.,\d TtZz]*\d[-+:.,\d TtZz]*")


def mask(data: bytes) -> bytes:
    """Return a key, a value or a header without what it says: of JSON the names of fields stay."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return b"\x00" * len(data)
    if _is_json(text):
        return _TOKEN.sub(_mask_token, text).encode()
    return _mask_text(text, _CHARACTER).encode()


def _is_json(text: str) -> bool:
    """Return whether a text is JSON: of anything else nobody knows which words are names."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _mask_token(token: re.Match[str]) -> str:
    if token["number"] is not None:
        return re.sub(r"\d", "1", token["number"]) + (token["exponent"] or "")
    if token["colon"] is not None:
        return token[0]
    return f'"{_mask_text(token["string"], _ESCAPE)}"'


def _mask_text(text: str, characters: re.Pattern[str]) -> str:
    """Mask a text, of which `characters` says what counts as one: in JSON also an escape."""
    if _TIME.fullmatch(text):
        return re.sub(r"\d", "1", text)
    return characters.sub(_mask_character, text)


def _mask_character(match: re.Match[str]) -> str:
    character = match[0]
    if len(character) > 1:
        return "a" if character[1] == "u" else character
    if not character.isascii():
        return "a"
    if character.isdigit():
        return "1"
    if character.isalpha():
        return "A" if character.isupper() else "a"
    return character
