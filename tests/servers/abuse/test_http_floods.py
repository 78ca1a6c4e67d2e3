"""Floods of HTTP/1.1 at the lean front, which is what serves HTTP unless it is asked otherwise."""

from __future__ import annotations

from pathlib import Path

from http_soaking import soak


def test_floods_are_borne_and_good_clients_served(tmp_path: Path) -> None:
    """Once each, beside good clients: all of these are answered, their entries there, and memory is bounded."""
    assert soak(tmp_path, 0, seed=1, each=0.15) == ""
