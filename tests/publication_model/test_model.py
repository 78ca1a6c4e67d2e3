"""The model itself: it holds, and without any one of its rules it does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import publication_model as model

# What is violated first, without each rule.
VIOLATIONS = {
    "sign-first": "conflicts with checkpoint",
    "no-staging": "can not be recovered",
    "no-epoch-cas": "conflicts with checkpoint",
    "plain-pointer": "pointer goes back",
    "reuse-epoch": "two roots for size 1 in epoch 1",
}


@pytest.mark.slow
def test_the_protocol_holds() -> None:
    states, violation, _ = model.explore()
    assert violation == ""
    assert states > 150_000


@pytest.mark.slow
@pytest.mark.parametrize("broken", model.BROKEN)
def test_every_rule_is_needed(broken: str) -> None:
    _, violation, trace = model.explore(broken)
    assert VIOLATIONS[broken] in violation
    assert trace[0] == "A starts epoch 1 at ()"


def test_a_word_it_does_not_know_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert model.main(["sign-frist"]) == 2
    assert "sign-first" in capsys.readouterr().err


def test_the_command_tells(capsys: pytest.CaptureFixture[str]) -> None:
    assert model.main(["1", "1", "0", "0"]) == 0
    assert "holds in all" in capsys.readouterr().out
    assert model.main(["no-staging"]) == 1
    assert "VIOLATION after 4 steps: head" in capsys.readouterr().out
