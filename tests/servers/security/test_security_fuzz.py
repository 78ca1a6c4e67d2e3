"""Whatever is shown or lies in a file: nothing but this project's own errors, and nobody is let in by chance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from merklelog.errors import ConfigError, KeyFileError, UnauthenticatedError
from merklelog.servers.access import Access, LogAccess
from merklelog.servers.admin_log import FILE as ADMIN
from merklelog.servers.admin_log import note, read_lines
from merklelog.servers.caller import Scope
from merklelog.servers.exposure import is_local
from merklelog.servers.peer import client_name
from merklelog.servers.tls import TlsFiles
from merklelog.servers.tokens import FILE, Token, change_tokens, make_token, read_tokens

shared_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Access, str]:
    directory = tmp_path_factory.mktemp("log")
    kept, shown = make_token("a", [Scope.APPEND], 0)
    change_tokens(directory, lambda _old: (kept,), lambda _tokens: None)
    access = Access(open_to_all=True)
    access.refresh([LogAccess("o", directory)])
    assert shown is not None
    return access, shown


@given(st.data())
def test_no_header_but_the_right_one(guarded: tuple[Access, str], data: st.DataObject) -> None:
    access, shown = guarded
    right = f"Bearer {shown}"
    cut = data.draw(st.integers(0, len(right)))
    header = data.draw(
        st.one_of(
            st.text(),
            st.text().map(lambda text: f"Bearer {text}"),
            st.binary(max_size=80).map(lambda raw: right[:cut] + raw.decode("latin-1") + right[cut:]),
            st.binary(max_size=80).map(lambda raw: right[:cut] + raw.decode("latin-1")),
        )
    )
    if header.strip(" \t").partition(" ")[2].strip(" \t") == shown:
        return
    with pytest.raises(UnauthenticatedError):
        access.identify(header)


@given(st.text() | st.sampled_from(["URI:", "DNS:", "CN:", "CN:a"]))
def test_no_name_but_a_granted_one(guarded: tuple[Access, str], name: str) -> None:
    with pytest.raises(UnauthenticatedError):
        guarded[0].identify(None, name).may(Scope.READ, "o")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("id", "name", "scopes", "sha256", "certificate", "created", "expires", "revoked", "more")


@shared_folder
@given(st.data())
def test_any_tokens_file(tmp_path: Path, data: st.DataObject) -> None:
    kept, _ = make_token("a", [Scope.APPEND], 0)
    token = json.loads(json.dumps({name: getattr(kept, name) for name in Token.__struct_fields__}))
    changed = data.draw(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=2))
    content = st.sampled_from([{"version": 1, "tokens": [{**token, **changed}]}, [token], {"version": 1}])
    written = data.draw(
        st.one_of(
            st.binary(),
            content.map(lambda value: json.dumps(value).encode()),
            JSON.map(lambda value: json.dumps(value).encode()),
        )
    )
    (tmp_path / FILE).touch(0o600)
    (tmp_path / FILE).write_bytes(written)
    try:
        found = read_tokens(tmp_path)
    except ConfigError:
        return
    assert found is not None
    # What is read is written as the same.
    before = found
    change_tokens(tmp_path, lambda old: old, lambda _tokens: None)
    assert read_tokens(tmp_path) == before


@shared_folder
@given(st.binary())
def test_any_admin_log(tmp_path: Path, data: bytes) -> None:
    (tmp_path / ADMIN).write_bytes(data)
    note(tmp_path, "one", {"a": 1})
    assert read_lines(tmp_path)[-1].details == {"a": 1}
    assert (tmp_path / ADMIN).read_bytes().startswith(data)


@given(st.binary() | st.text())
def test_any_bytes_as_a_certificate(data: bytes | str) -> None:
    assert client_name(data) is None


@shared_folder
@given(st.binary())
def test_any_bytes_as_tls_files(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.touch(0o600)
    for body in (data, b"-----BEGIN CERTIFICATE-----\n" + data + b"\n-----END CERTIFICATE-----\n"):
        path.write_bytes(body)
        with pytest.raises((ConfigError, KeyFileError)):
            TlsFiles(path, path, path).load()


@given(st.text())
def test_any_address_is_local_or_not(address: str) -> None:
    assert is_local(address) in {True, False}
