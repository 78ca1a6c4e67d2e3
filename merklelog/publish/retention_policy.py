"""Which locks may be set without a word more: COMPLIANCE for longer than a day needs to be understood first."""

from __future__ import annotations

from typing import Final

from merklelog.errors import ConfigError
from merklelog.publish.s3_options import Retention

UNDERSTOOD_KEY: Final = "publish.s3.i_understand_compliance"
DAYS_WITHOUT_A_WORD: Final = 1


def needs_understanding(retention: Retention | None) -> bool:
    """Whether nobody, its owner included, could undo this retention within a day."""
    return retention is not None and retention.mode == "COMPLIANCE" and retention.days > DAYS_WITHOUT_A_WORD


def check_understood(retention: Retention | None, *, understood: bool, place: str) -> None:
    """Refuse a COMPLIANCE lock of more than a day unless the operator said that it is understood.

    `place` is the target the locks would be set on. To be called before anything is written there. Raises
    ConfigError, which names the key that says so.
    """
    if retention is None or understood or not needs_understanding(retention):
        return
    raise ConfigError(
        f"{place}: every full tile, full bundle and checkpoint would be locked in COMPLIANCE mode for "
        f"{retention.days} days: until then nobody can delete it or shorten the lock, root and the store's own "
        f"staff included, and it is paid for. Set {UNDERSTOOD_KEY} = true to say that this is meant, or "
        f"publish.s3.retention_days = 1 to try it out"
    )
