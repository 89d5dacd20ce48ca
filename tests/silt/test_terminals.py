"""Each verb on a narrow terminal without colors, in a pipe, and when it is asked for help; and what
a shell completes.
"""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from silt.cli import COMMANDS, main
from silt.help_format import fold
from silt.local.broker import EmbeddedBroker
from tests.builders import ROOT, SMALL, event, function_for, record, rows
from tests.silt.topics import Topic

NARROW = 60
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOR = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3[0-9]|4[0-9]|9[0-7]|10[0-7])(?:;[0-9]+)*m")
CELLS = re.compile(r"^[┏┡└│┃]")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, dead letters, a saved event and a contract."""
    folder = tmp_path_factory.mktemp("verbs")
    batch = [*rows(0, 4, name="a name that is longer than a narrow terminal has columns for it")]
    batch += [record(4, {"id": "x"}), record(6, b"no JSON"), record(7, {"id": 7})]
    function_for(folder, SMALL).handle(event(batch), None)
    (folder / "saved.json").write_text(json.dumps(event([*batch, record(9, {"id": "y"})])))
    return folder


@pytest.fixture(scope="module")
def cluster() -> EmbeddedBroker:
    return EmbeddedBroker()


def arguments_of(verb: str, place: Path, topic: Topic) -> tuple[list[str], int]:
    """Return arguments with which a verb has something to show, and the exit code."""
    tables = ["--table-root", str(place / "tables"), "--contracts", str(place / "contracts")]
    broker = ["--bootstrap-servers", topic.servers, "--topic", topic.name]
    own = ["--table-root", str(topic.folder / "t"), "--contracts", str(topic.folder / "contracts")]
    dev = [*broker, *own, "--until-idle", "3", "--window", "0.1", "--group", topic.name]
    return {
        "init": ([str(place / "project")], 0),
        "infer": ([str(place / "saved.json")], 1),
        "contract": (["export", "sales/orders", "--odcs", *tables[2:]], 0),
        "check": ([str(place / "contracts")], 0),
        "replay": ([str(place / "saved.json"), *tables, "--dry-run"], 0),
        "redrive": (["sales/orders", *tables, "--dry-run"], 1),
        "audit": (["sales/orders", *tables], 1),
        "gaps": (["sales/orders", *tables], 1),
        "status": (tables, 0),
        "query": (["select * from orders", *tables], 0),
        "report": ([*tables, "-o", str(place / "page.html")], 0),
        "maintain": ([*tables, "--dry-run"], 0),
        "dev": ([*dev, "--log", str(topic.folder / "log")], 0),
        "capture": ([*broker, "--mask"], 0),
        "package": (["--deployment", str(place / "nothing.yml")], 2),
        "doctor": (tables, 0),
        "template": ([str(ROOT / "docs/deployments/msk-iam.yml")], 0),
        "completion": (["bash"], 0),
    }[verb]


@pytest.fixture
def topic(cluster: EmbeddedBroker, tmp_path: Path) -> Topic:
    made = Topic(cluster, tmp_path)
    made.send({"id": 1}, {"id": "x"}, {"id": 2})
    return made


@pytest.mark.parametrize("verb", COMMANDS)
def test_narrow_terminal_without_colors(verb: str, place: Path, topic: Topic) -> None:
    arguments, expected = arguments_of(verb, place, topic)
    code, text = run_on_terminal([verb, *arguments], NO_COLOR="1", COLUMNS=str(NARROW))
    assert code == expected, text
    assert "Traceback" not in text
    assert not COLOR.search(text)
    cells = [line for line in ESCAPE.sub("", text).splitlines() if CELLS.match(line)]
    assert [line for line in cells if len(line) > NARROW] == []
    assert text.strip()


def run_on_terminal(arguments: list[str], **environment: str) -> tuple[int, str]:
    """Run the command on a terminal of its own; return its exit code and all that it printed."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "silt.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm-256color", **environment},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    printed = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        printed += part
    os.close(ours)
    return process.wait(60), printed.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("verb", sorted(COMMANDS.keys() - {"dev"}))
def test_in_a_pipe_there_is_text_alone(verb: str, place: Path, topic: Topic, capsys: Any) -> None:
    arguments, expected = arguments_of(verb, place, topic)
    capsys.readouterr()
    assert main([verb, *arguments]) == expected
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert captured.out + captured.err


@pytest.mark.parametrize("columns", [50, 80, 120])
@pytest.mark.parametrize("verb", COMMANDS)
def test_help_is_folded_to_the_terminal(
    verb: str, columns: int, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paragraph, the options in groups, and examples that can be pasted as they are."""
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    too_wide = [
        line
        for line in text.splitlines()
        if len(line) > columns and " " in line.strip() and not line.startswith("usage")
    ]
    assert [line for line in too_wide if len(textwrap.wrap(line, columns - 24)) < 2] == []
    body, _, examples = text.partition("example")
    assert re.search(r"\n[A-Z].+\.\n", body, re.DOTALL)
    commands = re.sub(r" \\\n\s+", " ", examples).splitlines()
    assert any(line.startswith(f"  silt {verb}") for line in commands)


def test_folded_commands_are_the_commands() -> None:
    command = (
        """silt query 'select * from "a b"' --table-root s3://lake/tables --json --x "a -b c" """
    )
    text = f"Some words that are too long for one line.\n\nexample:\n  {command.strip()}"
    for width in (20, 40, 60, 200):
        lines = list(fold(text, width))
        folded = "\n".join(lines[lines.index("example:") + 1 :])
        words = subprocess.run(
            ["bash", "-c", f"silt() {{ printf '%s\\n' \"$@\"; }}\n{folded}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        assert words[:3] == ["query", 'select * from "a b"', "--table-root"]
        assert words[-3:] == ["--json", "--x", "a -b c"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["silt", "re"], {"replay", "redrive"}),
        (["silt", "gaps", "--boot"], {"--bootstrap-servers"}),
        (["silt", "package", "--arch", ""], {"arm64", "x86_64"}),
        (["silt", "completion", ""], {"bash", "zsh", "fish"}),
    ],
)
def test_bash_completes_verbs_options_and_choices(words: list[str], expected: set[str]) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    script = subprocess.run(
        [sys.executable, "-m", "silt.cli", "completion", "bash"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    quoted = " ".join(f"'{word}'" for word in words)
    ask = f"""
COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMP_LINE="${{COMP_WORDS[*]}}"
COMP_POINT=${{#COMP_LINE}}
function=$(complete -p silt | sed -E 's/.*-F ([^ ]+).*/\\1/')
"$function" silt "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run([bash, "-c", f"{script}\n{ask}"], capture_output=True, text=True)
    assert expected <= {line.strip() for line in done.stdout.splitlines()}, done.stderr
