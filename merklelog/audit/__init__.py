"""Auditing a log: everything recomputed, and what is wrong named.

run        an audit from end to end
report     what it says
rows       what it reads: `database` rows, `published` objects or what is `served`
versions   what was put over objects of a bucket; locks reads their locks back
beside     what stands in a copy beside the tree; `pointers` its two pointers, `staged` a publication under way
trust      which checkpoint, which keys
scan       a range of bundles hashed; `hashing` is its inner loop, `worker` and `workers` spread it over processes
judge      which of two is wrong: a tile or what is below it
peaks      roots of old sizes, taken while passing by; heads compares them with what was signed
upper      the levels above, and the right edge
monitor    logs followed for ever; the modules of that name are its parts
selfaudit  a server's audits of its own logs, and what they repair
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from merklelog.audit.report import MAX_FINDINGS, AuditFinding, AuditReport, FindingKind, LockReport
from merklelog.later import found_later

if TYPE_CHECKING:
    from merklelog.audit.run import Progress, audit

__all__ = ["MAX_FINDINGS", "AuditFinding", "AuditReport", "FindingKind", "LockReport", "Progress", "audit"]
# Found when first used: a worker process begins no audit.
__getattr__ = found_later(__name__, {"Progress": "run", "audit": "run"})
