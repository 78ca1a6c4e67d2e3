"""The command line: dispatch, and the only place that wires concrete objects together.

Read in this order: `program` (from words to a command, from an error to an exit status), `command` (what every
command has), `session` (how results are written), then a module a command group. `results` is what `--json`
prints; docs/reference.md is generated from the commands themselves.

A module of a command imports what it needs when the command runs: `merklelog verify` loads no database.
"""

from __future__ import annotations

from merklelog.cli.program import main

__all__ = ["main"]
