"""Decisions without I/O and without a clock: the same values in, the same answer out.

commit        what one commit of the log changes, as plain data
verdict       do these signatures meet that policy; does this proof file hold; since when did it exist
witness       a request to a witness: cosign, or refuse and why
policy_review what a policy amounts to, and what its author may not have meant
statement     has a log ended with this entry, and which one does it follow
advance       may a trusted head move to this newer one
cosigning     what witnesses answer a log, and whether it is enough
publication   the steps of a publication: may a log start, what comes next, who won
"""

from __future__ import annotations

from .advance import TrustedHead, advance
from .verdict import Cosigner, PolicyVerdict, Verdict, evaluate_policy, is_quorum, verify_proof_file

__all__ = [
    "Cosigner",
    "PolicyVerdict",
    "TrustedHead",
    "Verdict",
    "advance",
    "evaluate_policy",
    "is_quorum",
    "verify_proof_file",
]
