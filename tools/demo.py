"""The main job from end to end, on real audit events: `python3 tools/demo.py`.

Makes an environment for itself (see environment.py), then runs the same commands a user would type, shows
each with its answer, and leaves everything in ./demo/. Run again, it makes that directory anew; a ./demo/
that it did not make is left alone. Exit status 0 when every step ended as it should, a refused forgery
included.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

import environment

DIRECTORY = Path("demo")
MARK = DIRECTORY / "made-by-tools-demo"
SAMPLE = environment.ROOT / "tools" / "sample" / "cloudtrail.jsonl"
WIDTH = 100
LINES = 12


@dataclass(frozen=True)
class Step:
    """A sentence, the command line it is about, and the exit status that is right here."""

    sentence: str
    command: str
    status: int = 0


EVENT = "demo/evidence/event.json"
PROOF = "demo/evidence/proof.tlog-proof"
FIELDS = """grep -oE '"(eventName|@timestamp)":"[^"]*"'"""
VKEY = '--vkey "$(head -n 1 demo/evidence/vkeys)"'
VERIFY = f"merklelog verify {PROOF} {VKEY}"
STEPS = (
    Step(
        "A new log: keys, configuration, an empty signed tree.",
        "merklelog init demo/log --origin demo.example/trail",
    ),
    Step(
        "103 CloudTrail events of a data theft, one entry a line.",
        "merklelog append demo/log --jsonl SAMPLE",
    ),
    Step(
        "What the log now commits to: its name, its size, its root, signed.",
        "merklelog checkpoint demo/log",
    ),
    Step(
        "The last event is the theft itself: an object is read out.",
        f"merklelog get demo/log 102 > {EVENT} && {FIELDS} {EVENT}",
    ),
    Step(
        "The proof that it is in the log, in one file.",
        f"merklelog prove demo/log 102 -o {PROOF} && head -n 6 {PROOF}",
    ),
    Step(
        "The log's public keys, which a stranger gets once.",
        "merklelog vkey demo/log > demo/evidence/vkeys",
    ),
    Step(
        "The stranger verifies: offline, without the log.",
        f"{VERIFY} --entry {EVENT}",
    ),
    Step(
        "Someone moves the theft by a day: one byte of the event.",
        f"sed s/2020-09-14T01:13:20/2020-09-15T01:13:20/ {EVENT} > demo/forged.json",
    ),
    Step(
        "The same proof refuses it.",
        f"{VERIFY} --entry demo/forged.json",
        status=1,
    ),
    Step(
        "The log goes on.",
        """echo '{"eventName":"StopLogging"}' | merklelog append demo/log --jsonl""",
    ),
    Step(
        "It only grew: the old tree is the beginning of the new one.",
        "merklelog consistency demo/log 103 104",
    ),
    Step(
        "Every leaf, tile and root, recomputed.",
        "merklelog audit demo/log",
    ),
    Step(
        "A static copy for any web server.",
        "merklelog publish demo/log --to dir:demo/published",
    ),
    Step(
        "The stranger audits the copy, trusting nothing but the key.",
        f"merklelog audit dir:demo/published {VKEY}",
    ),
)

ENDING = """\
You now hold, in ./demo/:
  evidence/   an event, the proof that it was logged, and the log's public keys:
              all that anyone needs to check it, with any C2SP tlog-proof verifier, without this log
  published/  the whole log as static files (c2sp.org/tlog-tiles); serve it with any web server
  log/        the log itself; log/keys/ holds its private keys

The command is {command}; `merklelog --help` lists what else it does."""


def prepare() -> None:
    """An empty ./demo/. Raises SystemExit when there is one that is not the demo's own."""
    if DIRECTORY.is_symlink() or (DIRECTORY.exists() and not MARK.is_file()):
        raise SystemExit(
            f"{DIRECTORY.resolve()} is there already and not made by this demo: move it away first"
        )
    if DIRECTORY.exists():
        shutil.rmtree(DIRECTORY)
    DIRECTORY.mkdir()
    MARK.write_text("tools/demo.py deletes this directory when it runs again.\n", "utf-8")
    (DIRECTORY / "evidence").mkdir()


def abridge(text: str) -> str:
    """A command's output as the demo shows it: indented, sentences wrapped, long words and long texts cut."""
    shown: list[str] = []
    for line in text.splitlines():
        if max(map(len, line.split()), default=0) > WIDTH:
            shown.append(f"{line[:WIDTH]}… ({len(line):,} characters)")
        else:
            shown += textwrap.wrap(line, WIDTH, subsequent_indent="  ") or [""]
    if len(shown) > LINES:
        shown[LINES - 1 :] = [f"… and {len(shown) - LINES + 1} lines more"]
    return "".join(f"      {line}\n" for line in shown)


def run(number: int, step: Step, variables: dict[str, str]) -> None:
    """One step: its sentence, its command, its answer. Raises SystemExit when the status is another."""
    print(f"{number:2}. {step.sentence}\n    $ {step.command}", flush=True)
    done = subprocess.run(
        ["sh", "-c", step.command],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    print(abridge(done.stdout.decode("utf-8", "backslashreplace")), end="")
    if done.returncode != step.status:
        raise SystemExit(f"    exit status {done.returncode}, want {step.status}: the demo stops here")
    print(f"      (exit status {step.status}, as it must be)\n" if step.status else "", flush=True)


def show(commands: Path) -> None:
    """The whole demonstration in the current directory, with the `merklelog` that stands in `commands`."""
    prepare()
    variables = environment.clean_environment()
    variables["PATH"] = os.pathsep.join([str(commands), variables.get("PATH", os.defpath)])
    sample = SAMPLE.relative_to(Path.cwd()) if SAMPLE.is_relative_to(Path.cwd()) else SAMPLE
    for number, step in enumerate(STEPS, 1):
        command = step.command.replace("SAMPLE", shlex.quote(str(sample)))
        run(number, replace(step, command=command), variables)
    print(ENDING.format(command=commands / "merklelog"))


if __name__ == "__main__":
    if sys.argv[1:]:
        raise SystemExit("usage: python3 tools/demo.py")
    environment.ensure("run")
    show(environment.ROOT / ".venv" / "run" / "bin")
