"""A log and its witness over TLS: the log believes the authority that it was given, and no other."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import merklelog
from merklelog.errors import ConfigError, UnavailableError
from merklelog.formats import format_vkey, parse_policy
from merklelog.log import open_log
from merklelog.witness.create import create_witness
from tests.servers.security.conftest import Authority
from tests.witness.support import served
from tests.witness.test_tls import secured
from tests.witness_client.scene import PATIENCE, OneLog


def authority(folder: Path) -> tuple[Authority, Path]:
    """One, and its certificate."""
    folder.mkdir()
    made = Authority(folder)
    assert made.root is not None
    return made, made.root.pem


def test_a_log_asks_over_tls_and_believes_its_one_authority(tmp_path: Path) -> None:
    issuer, trusted = authority(tmp_path / "ca")
    _, stranger = authority(tmp_path / "stranger")
    keys = merklelog.create_log(tmp_path / "log", "tls.example/log", settings={"store.min_free_bytes": 0})
    verifiers = create_witness(tmp_path / "w", "w.example/w", logs=[keys[0]])
    secured(tmp_path / "w", issuer.server())
    with served(tmp_path / "w") as witness:
        line = f"witness w {format_vkey(verifiers[0])} https://{witness.address}\n"
        rules = f"log {format_vkey(keys[0])}\n{line}quorum w\n"
        one = OneLog(tmp_path / "log", keys, parse_policy(rules.encode()))
        one.configure(rules, ca=f'"{trusted}"')
        with merklelog.open(one.path) as log:
            log.append(b"over TLS")
            head = log.wait_witnessed(1).result(PATIENCE)
            assert one.names(head.note) == {b"w"}
        # Whom it does not believe it has not asked: no appends, and the reason by the witness' name.
        for ca in (f'"{stranger}"', '""'):
            one.configure(rules, ca=ca)
            with open_log(one.path, wait=None) as log:
                ends = time.monotonic() + PATIENCE
                while "witness w: https://" not in (said := str(log.publishing and log.publishing.starting)):
                    assert time.monotonic() < ends, said
                    time.sleep(0.02)
                assert "certificate" in said
                with pytest.raises(UnavailableError):
                    log.append(b"not taken")
                assert log.size == 1
    one.configure(rules, ca='"no-such.pem"')
    with pytest.raises(ConfigError, match=r"no-such\.pem: no certificates that can be used"):
        merklelog.open(one.path)
