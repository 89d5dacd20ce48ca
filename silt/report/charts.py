"""Charts as SVG that needs no script: bars over time, lines, bars by name, strips of offsets.

Colors are the page's CSS variables, so that they follow light and dark. Each mark has a title,
which browsers show when the pointer rests on it.
"""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape

from silt.output import age

WIDTH, HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 8, 12, 28
_INNER_W, _INNER_H = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
_BAR_H, _ROW_H = 18, 30
_NAME_MAX = 36
"""So many characters of a name fit beside its bar; its title has all."""
Series = tuple[str, Sequence[float]]
"""A class of the page's CSS, and a value for each bucket."""


def bars_over_time(
    times: Sequence[float], step_s: float, series: Sequence[Series], unit: str
) -> str:
    """Return stacked bars, one for each bucket that begins at a time (seconds since 1970)."""
    highest = max((sum(values) for values in zip(*(v for _, v in series), strict=True)), default=0)
    top = nice_end(highest)
    width = _INNER_W / max(1, len(times))
    marks = list[str]()
    for number, at_s in enumerate(times):
        base = 0.0
        for name, values in series:
            value = values[number]
            if not value:
                continue
            height = value / top * _INNER_H
            y = _TOP + _INNER_H - (base / top * _INNER_H) - height
            x = _LEFT + number * width
            title = f"{moment(at_s, step_s)}: {value:,.0f} {unit} ({name})"
            marks.append(_rect(name, x, y, max(1.0, width - 1), height, title))
            base += value
    return _chart(marks, top, times, step_s, lambda value: f"{value:,.0f}")


def line_over_time(
    points: Sequence[tuple[float, float]], name: str, label: Callable[[float], str]
) -> str:
    """Return a line through points of a time (seconds since 1970) and a value."""
    top = nice_end(max((value for _, value in points), default=0))
    first, last = (points[0][0], points[-1][0]) if points else (0.0, 1.0)
    span = max(last - first, 1e-9)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = _LEFT + (point[0] - first) / span * _INNER_W
        return x, _TOP + _INNER_H - point[1] / top * _INNER_H

    step_s = span / 60
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, points))
    marks = [f'<polyline class="line {name}" points="{path}"/>']
    for point in points if len(points) <= 200 else points[:: math.ceil(len(points) / 200)]:
        x, y = place(point)
        title = escape(f"{moment(point[0], step_s)}: {label(point[1])}")
        marks.append(
            f'<circle class="dot {name}" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{title}</title>'
            "</circle>"
        )
    return _chart(marks, top, [first, last], step_s, label)


def bars_by_name(items: Sequence[tuple[str, float]], name: str) -> str:
    """Return a horizontal bar with its number for each name."""
    top = max((value for _, value in items), default=1) or 1
    height = _ROW_H * len(items) + 4
    half = WIDTH / 2
    marks = list[str]()
    for number, (text, value) in enumerate(items):
        y = number * _ROW_H + 4
        width = value / top * (half - 90)
        shown = text if len(text) <= _NAME_MAX else f"{text[: _NAME_MAX - 1]}\u2026"
        marks.append(f'<text class="name" x="{half - 8}" y="{y + 14}">{escape(shown)}</text>')
        marks.append(_rect(name, half, y, max(2.0, width), _BAR_H, f"{text}: {value:,.0f}"))
        marks.append(f'<text x="{half + width + 6:.1f}" y="{y + 14}">{value:,.0f}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(marks)}</svg>'


def strip(first: int, last: int, gaps: Sequence[tuple[int, int]]) -> str:
    """Return a strip of offsets from the first to the last, with its gaps."""
    span = last - first + 1
    marks = [_rect("rows", 0, 0, WIDTH, 10, f"offsets {first:,} to {last:,}")]
    for begin, end in gaps:
        x = (begin - first) / span * WIDTH
        width = max(2.0, (end - begin + 1) / span * WIDTH)
        marks.append(_rect("letters", x, 0, width, 10, f"offsets {begin:,} to {end:,} are missing"))
    return (
        f'<svg class="strip" viewBox="0 0 {WIDTH} 10" preserveAspectRatio="none" role="img">'
        f"{''.join(marks)}</svg>"
    )


def nice_end(highest: float) -> float:
    """Return the end of an axis: 1, 2 or 5 times a power of ten, not below the highest value."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= highest * (1 - 1e-12))


def moment(at_s: float, step_s: float) -> str:
    """Return a time in UTC, as exact as a bucket is long."""
    text = datetime.fromtimestamp(at_s, UTC)
    if step_s >= 86_400:
        return f"{text:%Y-%m-%d}"
    return f"{text:%Y-%m-%d %H:%M}" if step_s >= 60 else f"{text:%Y-%m-%d %H:%M:%S}"


def span(seconds: float) -> str:
    """Return a span of time, with a fraction where it is short."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if 0 < seconds < 10 and seconds % 1 else age(seconds)


def _rect(name: str, x: float, y: float, width: float, height: float, title: str) -> str:
    return (
        f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}">'
        f"<title>{escape(title)}</title></rect>"
    )


def _chart(
    marks: Sequence[str],
    top: float,
    times: Sequence[float],
    step_s: float,
    label: Callable[[float], str],
) -> str:
    """Return marks with a grid, the values at the left, and the first and the last time below."""
    grid = list[str]()
    for part in (0.0, 0.5, 1.0):
        y = _TOP + _INNER_H * (1 - part)
        grid.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        grid.append(f'<text class="value" x="{_LEFT - 6}" y="{y + 5}">{label(top * part)}</text>')
    if times:
        y = HEIGHT - 6
        grid.append(f'<text x="{_LEFT}" y="{y}">{moment(times[0], step_s)}</text>')
    if len(times) > 1:
        end = moment(times[-1], step_s)
        grid.append(f'<text class="end" x="{WIDTH - _RIGHT}" y="{y}">{end}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(grid)}{"".join(marks)}</svg>'
