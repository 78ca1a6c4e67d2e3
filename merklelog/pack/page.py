"""`README.txt`: what a pack proves, for people.

The page follows from the range and the checkpoint, so a verifier makes it again and compares: a page that was
changed to say more than the pack proves is refused. Its words belong to version 1 of the format and never change.
"""

from __future__ import annotations

from typing import Final

from merklelog.formats import Checkpoint

_PAGE: Final = """\
WHAT THIS FILE PROVES

This is an evidence pack of the transparency log

    {origin}

It holds {count} of the log's entries: every one from index {start} to index {last}, in their order.

Verified with a policy or a key that you did not take from this file, it proves:

1. Each of these entries is in the log, byte for byte, at its index.
2. Between the first and the last of them none is missing, and none was added, changed or moved.
3. The log signed the tree of {size} entries that they are in. It is the checkpoint in checkpoint.txt,
   and its root hash is

    {root}

4. Where your policy asks for witnesses: as many of them as it asks for, parties that do not depend on the
   log's operator, have cosigned that same tree; and the entries existed by the time that the verifier
   prints.

It does not prove:

- That what an entry says is true. A log records what it was given.
- When an entry was written, or by whom. A time inside an entry is a claim of who wrote it.
- Anything about the entries before index {start} or after index {last}, or about what was never logged.
- That the log showed the same tree to everybody, or any time at all, unless witnesses of your policy
  cosigned it.
- Anything by itself. Who made this file may have made the keys as well: policy.txt is what its maker
  said about the log, for information. A verifier never reads keys from it, and neither should you.

HOW TO VERIFY IT

    merklelog verify THIS-FILE --policy YOUR-POLICY
    python3 -I verify_pack.py THIS-FILE --policy YOUR-POLICY

No network is needed, nor anything of the log or its operator. Instead of a policy, --vkey KEY names one
key of the log. Exit status 0 means proven, 1 disproven, 2 a mistake in the call, 3 that it could not be
told. verify_pack.py is one short program for any Python 3. Get it from the merklelog project, never from
who gave you this file, and compare its SHA-256 with the one that is published there.

THE FILES

README.txt      this page; a verifier makes it again and compares
proof.txt       the range of entries, and the hashes beside it that lead from the entries to the root
checkpoint.txt  the signed checkpoint and its cosignatures (c2sp.org/tlog-checkpoint)
policy.txt      the policy under which the pack was made (c2sp.org/tlog-policy), for information
entries/N.txt   entries from index N on, one a line
entries/N.bin   entries from index N on that are not plain text: each after its length, two bytes, the
                high one first

The hash of an entry is the SHA-256 of a zero byte and the entry. The hash of two neighbours is the
SHA-256 of a byte of value one, the left hash and the right hash (RFC 6962, section 2.1).
"""


def format_page(start: int, end: int, checkpoint: Checkpoint) -> bytes:
    """The page of the entries [start, end) under a checkpoint, ASCII alone."""
    text = _PAGE.format(
        origin=checkpoint.origin.encode("ascii", "backslashreplace").decode("ascii"),
        count=end - start,
        start=start,
        last=end - 1,
        size=checkpoint.size,
        root=checkpoint.root.hex(),
    )
    return text.encode("ascii")
