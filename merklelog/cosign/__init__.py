"""A log's witnesses as the log asks them: one client each, all at once, until a policy's quorum has cosigned.

The other side of it, a witness that is asked, is the room `witness`.
"""

from __future__ import annotations
