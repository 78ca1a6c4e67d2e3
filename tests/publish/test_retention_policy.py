"""COMPLIANCE for longer than a day needs to be understood."""

from __future__ import annotations

import pytest

from merklelog.errors import ConfigError
from merklelog.publish.retention_policy import check_understood
from merklelog.publish.s3_options import Retention


@pytest.mark.parametrize(
    "retention", [None, Retention("COMPLIANCE", 1), Retention("GOVERNANCE", 1), Retention("GOVERNANCE", 9999)]
)
def test_what_somebody_can_still_undo_needs_no_word(retention: Retention | None) -> None:
    check_understood(retention, understood=False, place="s3://b/log")


@pytest.mark.parametrize("days", [2, 2557])
def test_what_nobody_can_undo_has_to_be_understood(days: int) -> None:
    with pytest.raises(ConfigError) as error:
        check_understood(Retention("COMPLIANCE", days), understood=False, place="s3://b/log")
    for words in ("s3://b/log", f"{days} days", "publish.s3.i_understand_compliance = true", "root"):
        assert words in str(error.value)
    check_understood(Retention("COMPLIANCE", days), understood=True, place="s3://b/log")
