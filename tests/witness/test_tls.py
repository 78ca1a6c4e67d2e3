"""A witness on TLS: its certificate is shown, renewed at SIGHUP, and a wrong one is refused at the start."""

from __future__ import annotations

import http.client
import os
import signal
import ssl
import time
from pathlib import Path

import pytest

from merklelog.errors import ConfigError, KeyFileError
from merklelog.servers.witness import WitnessServer
from tests.servers.security.conftest import Authority, Pair
from tests.witness.support import GrownLog, Process, ask, make_witness, served

LOG = GrownLog()


def secured(directory: Path, pair: Pair) -> None:
    """The witness in `directory` shows this certificate from `tls.pem` and `tls.key` there."""
    (directory / "tls.pem").write_bytes(pair.pem.read_bytes())
    (directory / "tls.key").touch(0o600)
    (directory / "tls.key").write_bytes(pair.key.read_bytes())
    file = directory / "witness.toml"
    if "\ncertificate = " not in file.read_text():
        file.write_text(file.read_text() + "certificate = 'tls.pem'\ncertificate_key = 'tls.key'\n")


def connect(witness: Process, trusted: Pair) -> http.client.HTTPSConnection:
    host, _, port = witness.address.rpartition(":")
    context = ssl.create_default_context(cafile=str(trusted.pem))
    return http.client.HTTPSConnection(host, int(port), context=context, timeout=60)


def serial(connection: http.client.HTTPSConnection) -> int:
    connection.connect()
    assert isinstance(connection.sock, ssl.SSLSocket)
    shown = connection.sock.getpeercert()
    assert shown is not None
    return int(str(shown["serialNumber"]), 16)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    (tmp_path / "ca").mkdir()
    return Authority(tmp_path / "ca")


def test_requests_over_tls_and_a_new_certificate(tmp_path: Path, authority: Authority) -> None:
    assert authority.root is not None
    make_witness(tmp_path / "w", LOG)
    first, second = authority.server(), authority.server()
    secured(tmp_path / "w", first)
    with served(tmp_path / "w") as witness:
        connection = connect(witness, authority.root)
        assert serial(connection) == first.certificate.serial_number
        assert ask(connection, "POST", "/add-checkpoint", LOG.request(0, 5)).status == 200
        secured(tmp_path / "w", second)
        os.kill(witness.popen.pid, signal.SIGHUP)
        end = time.monotonic() + 60
        while True:
            renewed = connect(witness, authority.root)
            if serial(renewed) == second.certificate.serial_number:
                break
            renewed.close()
            assert time.monotonic() < end, witness.said.read_text()
            time.sleep(0.05)
        assert ask(renewed, "POST", "/add-checkpoint", LOG.request(5, 9)).status == 200
        for each in (connection, renewed):
            each.close()
        with pytest.raises((OSError, http.client.HTTPException, AssertionError)):
            assert witness.add(LOG.request(9, 10)).status == 200  # without TLS


def test_files_that_can_not_be_are_refused_at_the_start(tmp_path: Path, authority: Authority) -> None:
    make_witness(tmp_path / "w", LOG)
    secured(tmp_path / "w", authority.server())
    (tmp_path / "w" / "tls.key").write_bytes(authority.server().key.read_bytes())
    with pytest.raises(KeyFileError, match="not the key of the certificate"):
        WitnessServer(tmp_path / "w", {})
    (tmp_path / "w" / "tls.pem").unlink()
    with pytest.raises(ConfigError, match=r"tls\.pem"):
        WitnessServer(tmp_path / "w", {})
