"""Run a program under what a systemd unit forbids: `python confined.py UNIT COMMAND...`.

Systemd itself needs to be process 1 to do that; its filters are made here with the library it uses, from its own
tables of system calls (`systemd-analyze syscall-filter`): SystemCallFilter=, MemoryDenyWriteExecute=,
RestrictAddressFamilies= and NoNewPrivileges= of the [Service] section. A call that is forbidden gets EPERM.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import mmap
import os
import socket
import subprocess
import sys
from pathlib import Path

_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_EQUAL, _GREATER, _MASKED = 4, 6, 7  # libseccomp's enum scmp_compare
_SHM_EXEC = 0o100000
_NO_NEW_PRIVILEGES = 38


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def service(unit: Path) -> dict[str, list[str]]:
    """The [Service] section: every value of every key, in order."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in unit.read_text("utf-8").splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def system_calls(filters: list[str]) -> set[str]:
    """The names that a unit's SystemCallFilter= lines leave. The first is a list of what is allowed."""
    allowed: set[str] = set()
    for line in filters:
        names = set().union(*(_members(word) for word in line.removeprefix("~").split()))
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed


def _members(word: str) -> set[str]:
    if not word.startswith("@"):
        return {word}
    command = ["systemd-analyze", "--no-pager", "syscall-filter", word]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    inner = [line.strip() for line in lines[1:] if line.strip() and "#" not in line]
    return set().union(*(_members(each) for each in inner))


class _Filter:
    """One filter of libseccomp, in force from `load` on, for whatever is executed later as well."""

    def __init__(self, otherwise: int) -> None:
        self._library = ctypes.CDLL(ctypes.util.find_library("seccomp") or "libseccomp.so.2", use_errno=True)
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(otherwise)))

    def number(self, name: str) -> int:
        return int(self._library.seccomp_syscall_resolve_name(name.encode()))

    def add(self, action: int, name: str, *comparisons: tuple[int, int, int, int]) -> None:
        number = self.number(name)
        if number < 0:
            return  # another machine's
        array = (_Comparison * len(comparisons))(*(_Comparison(*each) for each in comparisons))
        done = self._library.seccomp_rule_add_array(
            self._context, ctypes.c_uint32(action), number, len(comparisons), array
        )
        if done:
            raise OSError(-done, f"a rule for {name}")

    def load(self) -> None:
        done = self._library.seccomp_load(self._context)
        if done:
            raise OSError(-done, "loading a filter")


def confine(settings: dict[str, list[str]]) -> None:
    """Put what these settings forbid into force for this process and all that it becomes."""
    if settings.get("NoNewPrivileges") == ["yes"]:
        ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    others = _Filter(_ALLOW)
    if settings.get("MemoryDenyWriteExecute") == ["yes"]:
        both = mmap.PROT_WRITE | mmap.PROT_EXEC
        others.add(_REFUSE, "mmap", (2, _MASKED, both, both))
        for name in ("mprotect", "pkey_mprotect"):
            others.add(_REFUSE, name, (2, _MASKED, mmap.PROT_EXEC, mmap.PROT_EXEC))
        others.add(_REFUSE, "shmat", (2, _MASKED, _SHM_EXEC, _SHM_EXEC))
    if families := settings.get("RestrictAddressFamilies"):
        allowed = {int(getattr(socket, name)) for name in families[-1].split()}
        for family in set(range(max(allowed) + 1)) - allowed:
            others.add(_REFUSE, "socket", (0, _EQUAL, family, 0))
        others.add(_REFUSE, "socket", (0, _GREATER, max(allowed), 0))
    others.load()
    if filters := settings.get("SystemCallFilter"):
        calls = _Filter(_REFUSE)
        # Systemd itself adds the last: it has to be executed under its own filter.
        for name in sorted(system_calls(filters) | {"execve"}):
            calls.add(_ALLOW, name)
        calls.load()


if __name__ == "__main__":
    confine(service(Path(sys.argv[1])))
    os.execvp(sys.argv[2], sys.argv[2:])
