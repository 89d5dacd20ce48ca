"""The page of a report: one file of HTML that loads nothing, light or dark as the system is."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape

from handler import __version__
from handler.errors import counted
from silt.output import age, size
from silt.prices import GET_THOUSAND, PUT_THOUSAND, STORED_GB_MONTH
from silt.report.charts import bars_by_name, bars_over_time, line_over_time, span, strip
from silt.report.collect import TableReport
from silt.report.history import COMMITS_MAX, buckets_of, growth_of

STRIPS_SHOWN, GAPS_DRAWN = 24, 500
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6577; --paper: #ffffff;
  --card: #f5f7fa; --grid: #dde3ea; --rows: #2f6fb0; --letters: #c4562a; --warn: #92600a;
  --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa5b5; --paper: #14181f;
  --card: #1d232d; --grid: #323b49; --rows: #6ea8e0; --letters: #ec9270;
  --warn: #e0b050; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 24px 20px 48px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 20px; margin: 36px 0 4px; }
h3 { font-size: 15px; margin: 0 0 2px; } p { margin: 2px 0; } .soft { color: var(--soft); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 14px 0; }
.figures div, section { background: var(--card); border-radius: 8px; padding: 12px 16px; }
.figures b { display: block; font-size: 21px; font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(480px, 100%), 1fr));
  gap: 16px; }
svg { display: block; width: 100%; height: auto; margin-top: 6px; }
svg text { fill: var(--soft); font-size: 16px; }
svg .value, svg .end, svg .name { text-anchor: end; }
svg .name { fill: var(--ink); } .grid { stroke: var(--grid); }
rect.rows { fill: var(--rows); } rect.letters { fill: var(--letters); }
.line { fill: none; stroke-width: 2; stroke: var(--rows); } .dot { fill: var(--rows); }
.strip { height: 10px; min-width: 120px; }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin: 0 4px 0 10px; }
table { border-collapse: collapse; width: 100%; margin-top: 6px; font-size: 14px; }
th, td { text-align: left; padding: 4px 10px 4px 0; border-bottom: 1px solid var(--grid); }
th { color: var(--soft); font-weight: 500; } td.number, th.number { text-align: right; }
.scroll { overflow-x: auto; } ul { margin: 6px 0; padding-left: 20px; }
.attention { color: var(--warn); } .wrong { color: var(--bad); }
"""


def page_of(reports: Sequence[TableReport], at: datetime) -> str:
    """Return the page of some tables, as they were at a time."""
    body = "".join(_table(report) for report in reports)
    names = ", ".join(report.status.name for report in reports)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Silt: {escape(names)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>Tables</h1>\n<p class="soft">silt report, release {escape(__version__)}, at '
        f"{at:%Y-%m-%d %H:%M} UTC</p>\n{body}</main>\n</body>\n</html>\n"
    )


def _table(report: TableReport) -> str:
    status, name = report.status, escape(report.status.name)
    head = f'<h2>{name}</h2>\n<p class="soft">{escape(status.uri)}</p>\n'
    if not status.figures.exists:
        return f"{head}<p>There is no table yet; the first record creates it.</p>\n"
    return (
        f"{head}{_figures(report)}<div class='charts'>{''.join(_charts(report))}</div>\n"
        f"{_streams(report)}{_upkeep(report)}{_cost(report)}"
    )


def _figures(report: TableReport) -> str:
    status, figures = report.status, report.status.figures
    newest = f"{age(status.newest_record_s)} ago" if status.newest_record_s is not None else "-"
    missing = sum(part.in_gaps for part in report.partitions)
    cells = [
        ("rows", f"{figures.rows or 0:,}"),
        ("open dead letters", f"{status.open_dead_letters:,}"),
        ("newest record", newest),
        ("files", f"{figures.files or 0:,}"),
        ("size", size(figures.data_bytes or 0)),
        ("offsets in gaps", f"{missing:,}"),
    ]
    return (
        '<div class="figures">'
        + "".join(f"<div><b>{value}</b>{name}</div>" for name, value in cells)
        + "</div>\n"
    )


def _charts(report: TableReport) -> Iterator[str]:
    step_s, buckets = buckets_of(report.rows, report.letters)
    if buckets:
        times = [bucket.at_s for bucket in buckets]
        rows = ("rows", [float(bucket.rows) for bucket in buckets])
        letters = ("letters", [float(bucket.dead_letters) for bucket in buckets])
        key = _key(("rows", "rows"), ("letters", "dead letters"))
        yield _card(
            f"Records in each {span(step_s)}",
            bars_over_time(times, step_s, [rows, letters], "records"),
            key,
        )
        late = [(each.at_s, each.late_s) for each in buckets if each.late_s is not None]
        yield _card(
            "Freshness: age of the newest record when it was committed",
            line_over_time(late, "rows", span),
        )
        growth = growth_of(report.rows, report.status.figures.rows or 0)
        yield _card(
            "Rows in the table", line_over_time(growth, "rows", lambda value: f"{value:,.0f}")
        )
    if report.reasons:
        yield _card(
            "Open dead letters by reason",
            bars_by_name([(n, float(c)) for n, c in report.reasons], "letters"),
        )
    if report.sizes:
        yield _card("Files by size", bars_by_name([(n, float(c)) for n, c in report.sizes], "rows"))
    operations: dict[str, int] = {}
    for commit in (*report.rows, *report.letters):
        operations[commit.operation] = operations.get(commit.operation, 0) + 1
    items = sorted(operations.items(), key=lambda item: -item[1])
    yield _card(
        "Commits in the logs, by operation", bars_by_name([(n, float(c)) for n, c in items], "rows")
    )


def _key(*entries: tuple[str, str]) -> str:
    return "".join(
        f'<span class="key" style="background: var(--{name})"></span>{text}'
        for name, text in entries
    )


def _card(title: str, chart: str, key: str = "") -> str:
    note = f'<p class="soft">{key}</p>' if key else ""
    return f"<section><h3>{escape(title)}</h3>{note}{chart}</section>"


def _streams(report: TableReport) -> str:
    if not report.partitions:
        return ""
    rows = list[str]()
    for part in report.partitions[:STRIPS_SHOWN]:
        known = part.known
        first, last = known.min(), known.max()
        picture = strip(first, last, part.gap_ranges(GAPS_DRAWN))
        numbers = (first, last, part.rows.rows, len(part.open_letters), part.in_gaps)
        cells = "".join(f'<td class="number">{number:,}</td>' for number in numbers)
        rows.append(f'<tr><td class="number">{part.partition}</td>{cells}<td>{picture}</td></tr>')
    titles = ("partition", "first", "last", "rows", "open letters", "in gaps")
    head = "".join(f'<th class="number">{title}</th>' for title in titles)
    more = len(report.partitions) - STRIPS_SHOWN
    note = f"<p class='soft'>and {counted(more, 'partition')} more</p>" if more > 0 else ""
    return (
        "<section style='margin-top: 16px'><h3>Offsets by partition</h3>"
        f"<p class='soft'>{_key(('rows', 'stored or dropped by a rule'), ('letters', 'in gaps'))}"
        ". Gaps are no losses by themselves: silt gaps says what they are.</p>"
        f"<div class='scroll'><table><tr>{head}<th>from the first to the last</th></tr>"
        f"{''.join(rows)}</table></div>{note}</section>\n"
    )


def _upkeep(report: TableReport) -> str:
    lines = [
        f'<li class="{remark.severity}">{escape(remark.message)}</li>'
        for remark in report.status.remarks
    ]
    lines += [f"<li>{escape(line)}</li>" for line in report.status.details()]
    if report.findings:
        found = f"silt audit has {counted(report.findings, 'finding')}: look at them first"
        lines.insert(0, f'<li class="wrong">{found}</li>')
    return (
        "<section style='margin-top: 16px'><h3>What maintenance would do, and what to know</h3>"
        f"<ul>{''.join(lines)}</ul></section>\n"
    )


def _cost(report: TableReport) -> str:
    commits = [*report.rows, *report.letters]
    puts = len(commits) + sum(commit.files for commit in commits)
    stored = (report.status.figures.data_bytes or 0) / 1e9 * STORED_GB_MONTH
    requests = puts / 1000 * PUT_THOUSAND + 2 * len(commits) / 1000 * GET_THOUSAND
    newest = f", the newest {COMMITS_MAX:,}" if len(report.rows) == COMMITS_MAX else ""
    return (
        "<section style='margin-top: 16px'><h3>Cost so far, as far as the log shows it</h3>"
        f"<p>{requests:,.4f} USD for some {puts:,} PUTs and the requests beside them, of "
        f"{counted(len(commits), 'commit')} in the logs{newest}; {stored:,.4f} USD a month for "
        "what the table stores.</p><p class='soft'>S3's list prices of us-east-1. The function, "
        "the pollers and the cluster are not in the log: AWS's bill has them, and docs/deploy.md "
        "the formula.</p></section>\n"
    )
