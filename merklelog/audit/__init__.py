"""Auditing a log: everything recomputed, and what is wrong named.

run        an audit from end to end
report     what it says
rows       what it reads: `database` rows or `published` files
trust      which checkpoint, which keys
scan       a range of bundles hashed; `hashing` is its inner loop, `worker` and `workers` spread it over processes
judge      which of two is wrong: a tile or what is below it
peaks      roots of old sizes, taken while passing by; heads compares them with what was signed
upper      the levels above, and the right edge
"""

from __future__ import annotations

from merklelog.audit.report import MAX_FINDINGS, AuditFinding, AuditReport, FindingKind
from merklelog.audit.run import Progress, audit

__all__ = ["MAX_FINDINGS", "AuditFinding", "AuditReport", "FindingKind", "Progress", "audit"]
