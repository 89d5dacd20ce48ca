"""`where` of a contract file to the conditions that it means."""

from collections.abc import Mapping, Sequence

from handler.contract.message_paths import check_header
from handler.contract.model import ConditionModel
from handler.contract.reporting import Path, Report, nearest
from handler.contract.reserved import HEADERS, KEY
from handler.contract.source_paths import parse_source
from handler.contract.where import KEY_TEXT, Condition, Where


def _check_condition(wants: ConditionModel, place: Path, report: Report) -> None:
    """Report a condition that says nothing, or contradicts itself."""
    given = wants.model_fields_set
    if not given:
        report(place, "there is no condition here. Expected one such as {equals: order}")
    for name in sorted(given):
        if getattr(wants, name) is None:
            hint = ": for null or a missing field write exists: false" if name == "equals" else ""
            report((*place, name.rstrip("_")), f"there is no value here{hint}")
    if wants.exists is False and given != {"exists"}:
        report(place, "exists: false is about a value that is missing: nothing else can hold of it")


def compile_where(
    model: Mapping[str, ConditionModel | Sequence[Mapping[str, ConditionModel]]],
    here: Path,
    report: Report,
) -> Where:
    """Compile the conditions of a contract, and report what is wrong with them."""
    conditions, alternatives = [], []
    if not model:
        report(here, "there is no condition: leave `where` out to take every record")
    for name, wants in model.items():
        place = (*here, name)
        if not isinstance(wants, ConditionModel):
            if name != "any":
                report(place, "expected conditions such as {equals: order}; a list is for `any`")
            alternatives += [
                compile_where(each, (*place, i), report) for i, each in enumerate(wants)
            ]
            continue
        _check_condition(wants, place, report)
        root, _, rest = name.partition(".")
        if name == KEY:
            path: tuple[str, ...] = (KEY_TEXT,)
        elif root == HEADERS:
            path = (root, *check_header(rest, place, report))
        elif root.startswith("_kafka_") and root != KEY:
            hint = nearest(root, (HEADERS, KEY)) or f". Expected {HEADERS} or {KEY}"
            report(place, f"a condition cannot be on {root!r}{hint}")
            path = (root,)
        else:
            path = parse_source(name, place, report)
        conditions.append(_condition(path, wants))
    return Where(tuple(conditions), tuple(alternatives))


def _condition(path: tuple[str, ...], wants: ConditionModel) -> Condition:
    return Condition(
        path,
        equals=wants.equals,
        in_=tuple(wants.in_) if wants.in_ is not None else None,
        prefix=wants.prefix,
        exists=wants.exists,
        minimum=wants.minimum,
        maximum=wants.maximum,
    )
