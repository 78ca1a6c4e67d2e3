"""A configuration read by its table of keys: what is refused, and where the message says it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

import merklelog
from merklelog.errors import ConfigError
from merklelog.log import load_config, parse_value
from merklelog.log.table import Key, TomlFile, format_settings, settle

KEYS = (
    Key("one", "count", 3, "a number", low=1, high=9),
    Key("one", "on", False, "a switch"),
    Key("two", "kind", "a", "a choice", choices=("a", "b")),
    Key("two", "name", "", "a name", pattern="|[a-z]+", form="a name of a-z"),
)

LIST = Key("two", "many", (), "names", pattern="[a-z]+", form="a name of a-z")


def read(text: str, **environment: str) -> dict[str, object]:
    file = TomlFile(Path("f.toml"), text)
    file.check_names(KEYS, others=("three",))
    got = settle(file, KEYS, environment)
    return {
        "count": got.number("one.count"),
        "on": got.flag("one.on"),
        "kind": got.text("two.kind"),
        "name": got.text("two.name"),
    }


def test_defaults_then_the_file_then_the_environment() -> None:
    assert read("") == {"count": 3, "on": False, "kind": "a", "name": ""}
    assert read("[one]\ncount = 4\n[three]\nany = 1\n")["count"] == 4
    assert read("[one]\ncount = 4", MERKLELOG_ONE__COUNT="5", MERKLELOG_ONE__ON="true") == {
        "count": 5,
        "on": True,
        "kind": "a",
        "name": "",
    }
    assert settle(None, KEYS, {}).place("one.count") == "one.count"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[one]\n\ncount = 10", "f.toml:3: one.count is 10: want 1 to 9"),
        ("[one]\ncount = true", "f.toml:2: one.count is True: want a whole number from 1 to 9"),
        ("[one]\non = 1", "f.toml:2: one.on is 1: want true or false"),
        ("[two]\nkind = 'c'", "f.toml:2: two.kind is 'c': want one of a, b"),
        ("[two]\nname = 'A'", "f.toml:2: two.name is 'A': want a name of a-z"),
        ("[two]\nname = 3", "f.toml:2: two.name is 3: want a name of a-z"),
        ("[one]\ncuont = 1", "f.toml:2: no key one.cuont; there is count, on"),
        ("# words\n[four]\n", "f.toml:2: no section [four]; there is one, two"),
        ("one = 1", "f.toml:1: one is a section, not a value"),
        ("[one\n", "f.toml: "),
    ],
)
def test_an_error_names_file_line_and_key(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("text", ["", "x", "+5", "1_0", "٣", "99999999999999999999"])
def test_a_variable_is_read_strictly(text: str) -> None:
    with pytest.raises(ConfigError, match="environment MERKLELOG_ONE__COUNT is "):
        read("", MERKLELOG_ONE__COUNT=text)
    with pytest.raises(ConfigError, match="want true or false"):
        parse_value("here", KEYS[1], text)


@pytest.mark.parametrize("text", ["[", "[1]", "[" * 5_000, f"[{'9' * 5_000}]", "['dir:/a']\ny = 1]"])
def test_a_list_in_a_variable_is_read_strictly(text: str) -> None:
    with pytest.raises(ConfigError, match=r"here is .*want a list of strings"):
        parse_value("here", LIST, text)


def test_a_new_file_says_every_key_and_reads_back() -> None:
    text = format_settings(KEYS, {"two.kind": "b"})
    assert "# count = 3" in text
    assert read(text) == {"count": 3, "on": False, "kind": "b", "name": ""}


@pytest.mark.parametrize("path", ["UPPER", "a/b", "..", ".", "a b", "ü"])
def test_a_logs_http_path_is_a_plain_name(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match=r"http\.path"):
        merklelog.create_log(tmp_path / "log", "example.com/x", settings={"http.path": path})
    assert not (tmp_path / "log").exists()


def test_a_logs_file_may_hold_its_servers_sections(tmp_path: Path) -> None:
    merklelog.create_log(tmp_path / "log", "example.com/x", settings={"log.read": "token"})
    file = tmp_path / "log" / "merklelog.toml"
    file.write_text(file.read_text() + "\n[server]\ngrpc = ''\n[tls]\n[limits]\n")
    assert load_config(tmp_path / "log").read == "token"
