"""A page whose console blocks are typed, by section, into one shell each, and what they print is compared.

    ```console
    $ merklelog checkpoint /var/lib/merklelog/trail
    example.com/trail
    ...
    [1]
    ```

A `$` line is a command, `>` lines continue it, what follows is what it prints on both streams; "..." stands
any part of a line, or on a line of its own for any lines. A command that fails has its exit status as last line.
What has to happen before a section's first block stands above it, in a comment: `<!-- before: ... -->`.

The page's paths and ports are real ones; the shell gets others for them, and what it prints is turned back.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(__file__).with_name("operator_tools")
# What stands for a machine's own directories, ports and processes.
PLACES = re.compile(r"(?<![\w/.-])/(var/lib|etc|srv|mnt|root)(?=/)")
PORTS = (7070, 7080, 7090, 4318)
SECONDS = 300


@dataclass(frozen=True)
class Command:
    """One command of a page, with the line it stands on."""

    line: int
    text: str
    expected: tuple[str, ...]
    status: int


@dataclass(frozen=True)
class Section:
    """What stands under one heading: shell text that sets the scene, and the commands that are typed."""

    title: str
    before: str
    commands: tuple[Command, ...]


def sections(page: str) -> Iterator[Section]:
    """The sections that have commands to type."""
    starts = [match.start() for match in re.finditer(r"(?m)^##+ ", page)] + [len(page)]
    for start, end in pairwise(starts):
        text = page[start:end]
        title = re.match(r"#+ (.*)", text)
        assert title
        before = "\n".join(re.findall(r"<!-- before:\n(.*?)-->", text, re.DOTALL))
        first = page.count("\n", 0, start) + 1
        commands = [
            command
            for block in re.finditer(r"(?m)^```console\n((?s:.*?))^```$", text)
            for command in _commands(block[1], first + text.count("\n", 0, block.start(1)))
        ]
        if commands:
            yield Section(title[1], before, tuple(commands))


def _commands(block: str, line: int) -> Iterator[Command]:
    found: list[tuple[int, list[str], list[str]]] = []
    for number, text in enumerate(block.splitlines(), line):
        if text.startswith("$ "):
            found.append((number, [text[2:]], []))
        elif text.startswith("> ") and found and not found[-1][2]:
            found[-1][1].append(text[2:])
        else:
            assert found, f"line {number}: {text!r} comes before any command"
            found[-1][2].append(text)
    for number, typed, shown in found:
        status = re.fullmatch(r"\[(\d+)\]", shown[-1]) if shown else None
        expected = shown[:-1] if status else shown
        yield Command(number, "\n".join(typed), tuple(expected), int(status[1]) if status else 0)


def matches(expected: tuple[str, ...], shown: str) -> bool:
    """Whether this was printed; "..." stands for anything."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else ".*?".join(map(re.escape, line.split("..."))) + r"[ \t]*\n"
        for line in expected
    )
    whole = shown if shown.endswith("\n") or not shown else shown + "\n"  # an entry has no newline of its own
    return re.fullmatch(pattern, whole) is not None


class Machine:
    """A scratch directory that stands for a machine, and free ports for the page's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        shutil.copytree(TOOLS, self.bin)
        for name, words in (("merklelog", " -m merklelog"), ("python", "")):
            (self.bin / name).write_text(f'#!/bin/sh\nexec {sys.executable}{words} "$@"\n')
        for tool in self.bin.iterdir():
            tool.chmod(0o755)
        for name in ("var/lib/merklelog", "etc/merklelog", "srv", "mnt/backup", "root"):
            (folder / name).mkdir(parents=True)
        self.ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))

    def here(self, text: str) -> str:
        """A page's text with this machine's paths and ports."""
        for port, ours in self.ports.items():
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{ours}")
        return PLACES.sub(lambda match: f"{self.folder}/{match[1]}", text)

    def there(self, text: str) -> str:
        """What was printed, as the page would have it."""
        for port, ours in self.ports.items():
            text = text.replace(f"127.0.0.1:{ours}", f"127.0.0.1:{port}")
        return text.replace(str(self.folder), "")

    def environment(self) -> dict[str, str]:
        """No more of the caller's than its PATH."""
        names = zip(("GRPC", "HTTP", "ADMIN"), list(self.ports.values())[:3], strict=True)
        return {
            "PATH": f"{self.bin}:{os.environ.get('PATH', os.defpath)}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder / "root"),
            "MACHINE": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",  # both streams in the order of a terminal
            **{f"MERKLELOG_SERVER__{name}": f"127.0.0.1:{port}" for name, port in names},
            "MERKLELOG_STORE__MIN_FREE_BYTES": "0",  # whatever the disk of the tests has
        }

    def type(self, section: Section) -> None:
        """Run a section's commands in one shell and compare; fails naming the line of the page."""
        said = self.folder / "said"
        said.mkdir()
        lines = ["set -e", self.here(section.before), f"set +e; echo >{said}/before"]
        for number, command in enumerate(section.commands):
            lines += [
                f"{{ {self.here(command.text)}",
                f"}} >{said}/{number}.text 2>&1 </dev/null",
                f"echo $? >{said}/{number}.status",
            ]
        try:
            done = subprocess.run(
                ["bash", "-c", "\n".join(lines)],
                cwd=self.folder / "root",
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
        finally:
            subprocess.run([self.bin / "systemctl", "end-all"], env=self.environment(), check=True)
        assert (said / "before").exists(), f"{section.title}: {done.stdout}{done.stderr}"
        for number, command in enumerate(section.commands):
            status = said / f"{number}.status"
            assert status.exists(), f"line {command.line} never ended: {command.text}\n{done.stderr}"
            shown = self.there((said / f"{number}.text").read_text("utf-8"))
            what = f"line {command.line}: {command.text}\n--- printed\n{shown}--- exit status"
            got = int(status.read_text())
            assert got == command.status, f"{what} {got}, the page says {command.status}"
            want = "\n".join(command.expected)
            assert matches(command.expected, shown), f"{what} {got}\n--- the page says\n{want}"


def _free_ports(count: int) -> list[int]:
    """Ports that are free: below those that the system gives to clients, which could take one meanwhile."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(15_000, 32_000)
        if port in found:
            continue
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found
