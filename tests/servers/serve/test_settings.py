"""server.toml: what is in force, and what is refused with the file, the line and the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from merklelog.errors import ConfigError
from merklelog.log import KEYS
from merklelog.servers.settings import SERVER_KEYS, has_server_sections, load_settings


def test_defaults_are_the_designs() -> None:
    settings = load_settings(None, {})
    assert (settings.grpc, settings.http, settings.admin) == (
        "127.0.0.1:7070",
        "127.0.0.1:7080",
        "127.0.0.1:7090",
    )
    assert settings.tls is None


def test_an_option_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("[server]\ngrpc = '127.0.0.1:1'\nhttp = '127.0.0.1:2'\nadmin = ''\n[limits]\ncalls = 7\n")
    environment = {"MERKLELOG_SERVER__HTTP": "127.0.0.1:3", "MERKLELOG_SERVER__GRPC": "127.0.0.1:4"}
    settings = load_settings(file, environment, {"server.grpc": "unix:/run/x"})
    assert (settings.grpc, settings.http, settings.admin) == ("unix:/run/x", "127.0.0.1:3", "")
    assert settings.limits.calls == 7


def test_tls_files_are_below_the_file_that_names_them(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("[tls]\ncertificate = 'c.pem'\nkey = '/etc/k.pem'\n")
    tls = load_settings(file, {}).tls
    assert tls is not None
    assert (tls.certificate, tls.key, tls.client_ca) == (tmp_path / "c.pem", Path("/etc/k.pem"), None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nport = 1", ":2: no key server.port; there is grpc, http, admin"),
        ("[sever]\n", ":1: no section [sever]; there is limits, server, tls"),
        ("[log]\norigin = 'x'", ":1: no section [log]"),
        ("[server]\ngrpc = 7070", ":2: server.grpc is 7070: want HOST:PORT"),
        ("[server]\ngrpc = '7070'", ":2: server.grpc is '7070': want HOST:PORT"),
        ("[server]\nhttp = 'http://127.0.0.1:1'", ":2: server.http is "),
        ("[server]\nhttp = '127.0.0.1:65536'", ":2: server.http is '127.0.0.1:65536': want a port"),
        ("[server]\nhttp = '::1:80'", ":2: server.http is '::1:80'"),
        (
            "[server]\nhttp = '127.0.0.1:7070'\ngrpc_front = 'grpcio'",
            "server.http is '127.0.0.1:7070', which server.grpc has too",
        ),
        ("[server]\ngrpc = ''\nhttp = ''\nadmin = ''", "are empty"),
        ("[server]\nlog_format = 'xml'", ":2: server.log_format is 'xml': want one of human, json"),
        ("[limits]\n# nothing\ncalls = 0", ":3: limits.calls is 0: want 1 to "),
        (
            "[limits]\nunread_bytes = 1048576",
            ":2: limits.unread_bytes is 1048576: want at least limits.message",
        ),
        ("[server]\nnames = 'log.example.com'", ":2: server.names is 'log.example.com': want a list"),
        ("[server]\nnames = ['log.example.com:80']", ":2: server.names has 'log.example.com:80'"),
        ("[tls]\nkey = 'k'", ":2: tls.key is set, but tls.certificate is not"),
        ("[tls]\ncertificate = 'c'", ":2: tls.certificate is set, but tls.key is not"),
        ("[tls]\nclient_ca = 'c'", ":2: tls.client_ca is set, but tls.certificate is not"),
    ],
)
def test_what_can_not_be_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(file, {})
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_bad_option_or_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="option --http is 'x'"):
        load_settings(None, {}, {"server.http": "x"})
    with pytest.raises(ConfigError, match="environment MERKLELOG_LIMITS__CALLS is '-1'"):
        load_settings(None, {"MERKLELOG_LIMITS__CALLS": "-1"})


def test_names_are_a_list_also_in_the_environment() -> None:
    assert load_settings(None, {}).names == ()
    one = load_settings(None, {"MERKLELOG_SERVER__NAMES": "log.example.com"})
    assert one.names == ("log.example.com",)
    two = load_settings(None, {"MERKLELOG_SERVER__NAMES": '["a.example", "b.example"]'})
    assert two.names == ("a.example", "b.example")


def test_no_key_is_in_both_tables() -> None:
    names = [key.dotted for key in (*KEYS, *SERVER_KEYS)]
    assert len(names) == len(set(names))
    assert not {key.section for key in KEYS} & {key.section for key in SERVER_KEYS}


def test_a_servers_section_in_a_logs_file_is_found(tmp_path: Path) -> None:
    file = tmp_path / "merklelog.toml"
    file.write_text("[log]\norigin = 'x'\n")
    assert has_server_sections(file) is None
    file.write_text("[log]\norigin = 'x'\n\n[limits]\n")
    assert has_server_sections(file) == f"{file}:4: [limits]"
