"""A new witness, its configuration and its list of logs."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from merklelog.errors import ConfigError, KeyFileError, MerklelogError, PolicyError, UsageError
from merklelog.formats import SignatureType, format_policy, format_vkey, parse_policy, single_log_policy
from merklelog.witness.config import WITNESS_KEYS, load_witness_config
from merklelog.witness.create import create_witness
from merklelog.witness.keys import load_keys
from merklelog.witness.logs import read_logs
from merklelog.witness.service import Witness
from tests.witness.support import NAME, GrownLog, make_witness

LOG = GrownLog()
OTHER = GrownLog("other.example/log", seed=b"\x09")
Opened = Callable[..., Witness]


def test_what_a_new_witness_is(tmp_path: Path) -> None:
    vkeys = create_witness(
        tmp_path / "w", NAME, logs=[LOG.key.verifier, OTHER.key.verifier, LOG.mldsa.verifier]
    )
    assert [key.type for key in vkeys] == [
        SignatureType.COSIGNATURE_ED25519,
        SignatureType.COSIGNATURE_MLDSA44,
    ]
    for name in ("ed25519.key", "mldsa44.key"):
        assert stat.S_IMODE((tmp_path / "w" / "keys" / name).stat().st_mode) == 0o600
    config = load_witness_config(tmp_path / "w", {})
    assert (config.name, config.http, config.admin) == (NAME, "127.0.0.1:7081", "127.0.0.1:7091")
    assert [key.verifier for key in load_keys(config.keys, NAME)] == vkeys
    logs = read_logs(config.logs, vkeys)
    assert set(logs.policies) == {LOG.origin, OTHER.origin}
    policy = logs.policy(LOG.origin)
    assert policy is not None
    assert [log.key for log in policy.logs] == [LOG.key.verifier, LOG.mldsa.verifier]


def test_a_directory_in_use_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        create_witness(tmp_path, NAME)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["", "a b", "a+b", "x" * 256, "a\nb"])
def test_names_that_can_not_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(MerklelogError):
        create_witness(tmp_path / "w", name)
    assert not (tmp_path / "w").exists()


def test_keys_elsewhere_and_of_one_kind(tmp_path: Path, opened: Opened) -> None:
    kinds = (SignatureType.COSIGNATURE_ED25519,)
    (vkey,) = create_witness(
        tmp_path / "w", NAME, keys=tmp_path / "secret", kinds=kinds, logs=[LOG.key.verifier]
    )
    witness = opened(tmp_path / "w")
    assert witness.verifiers == (vkey,)
    answer = asyncio.run(witness.add_checkpoint(LOG.request(0, 3), ""))
    assert answer.body.count(b"\n") == 1
    assert len(answer.body) < 200


def test_keys_of_another_name_or_kind_are_refused(tmp_path: Path) -> None:
    create_witness(tmp_path / "w", NAME)
    keys = tmp_path / "w" / "keys"
    with pytest.raises(ConfigError, match="want a key of"):
        load_keys(keys, "witness.example/other")
    (keys / "ed25519.key").unlink()
    (keys / "mldsa44.key").rename(keys / "ed25519.key")
    with pytest.raises(ConfigError, match="type 0x04"):
        load_keys(keys, NAME)
    (keys / "ed25519.key").unlink()
    with pytest.raises(KeyFileError, match="neither"):
        load_keys(keys, NAME)


def test_the_list_of_logs_is_read_again_whole_or_not_at_all(tmp_path: Path, opened: Opened) -> None:
    make_witness(tmp_path / "w", LOG)
    witness = opened(tmp_path / "w")
    body = OTHER.request(0, 4)

    def ask() -> int:
        return asyncio.run(witness.add_checkpoint(body, "")).status

    assert ask() == 404
    added = tmp_path / "w" / "logs" / "other.policy"
    added.write_bytes(format_policy(single_log_policy([OTHER.key.verifier])))
    (tmp_path / "w" / "logs" / "notes.txt").write_text("not a policy")
    assert ask() == 404
    assert witness.reload() == 2
    assert ask() == 200
    good = added.read_bytes()
    for wrong, says in (
        (b"log\n", "other.policy: policy line 1"),
        (b"quorum none\n", "names no log"),
        ((tmp_path / "w" / "logs" / "1.policy").read_bytes(), "is in .*1.policy too"),
    ):
        added.write_bytes(wrong)
        with pytest.raises((ConfigError, PolicyError), match=says):
            witness.reload()
        assert len(witness.logs) == 2
    added.unlink()
    assert witness.reload() == 1
    assert ask() == 404
    added.write_bytes(good)
    assert witness.reload() == 2
    assert ask() == 409  # what was cosigned before is remembered


def test_a_log_with_the_witness_own_key_or_name_is_refused(tmp_path: Path) -> None:
    vkeys = make_witness(tmp_path / "w")
    folder = tmp_path / "w" / "logs"
    (folder / "own.policy").write_bytes(format_policy(single_log_policy([GrownLog(NAME).key.verifier])))
    with pytest.raises(ConfigError, match="own name or key"):
        read_logs(folder, vkeys)


def test_a_log_line_is_needed_twice_in_no_file(tmp_path: Path) -> None:
    vkeys = make_witness(tmp_path / "w", LOG)
    text = f"log {format_vkey(LOG.mldsa.verifier)}\nquorum none\n".encode()
    assert parse_policy(text)
    (tmp_path / "w" / "logs" / "again.policy").write_bytes(text)
    with pytest.raises(ConfigError, match="too"):
        read_logs(tmp_path / "w" / "logs", vkeys)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("htp = 'x'", "no key witness_server.htp"),
        ("http = ''", "listens somewhere"),
        ("http = '127.0.0.1:99999'", "port"),
        ("http = 'here'", "HOST:PORT"),
        ("certificate = 'x.pem'", "certificate_key"),
        ("rate = -1.0", "want 0"),
        ("request_bytes = 10", "want 8192"),
        ("without_tls = 'yes'", "to the letter"),
    ],
)
def test_settings_that_can_not_be(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "witness.toml").write_text(f"[witness_server]\nname = '{NAME}'\n{line}\n")
    with pytest.raises(ConfigError, match=says) as caught:
        load_witness_config(tmp_path, {})
    assert f"{tmp_path}/witness.toml:3" in str(caught.value)


def test_variables_go_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "witness.toml").write_text(f"[witness_server]\nname = '{NAME}'\nrate = 5\n")
    config = load_witness_config(tmp_path, {"MERKLELOG_WITNESS_SERVER__RATE": "7.5"})
    assert config.rate == 7.5
    assert len({key.dotted for key in WITNESS_KEYS}) == len(WITNESS_KEYS)
