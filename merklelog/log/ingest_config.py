"""The sections [ingest] and [ingest.protect] of a log's configuration: how audit events become entries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from .table import Key, Settings

PROTECT: Final = "ingest.protect"
_FIELD: Final = r"[^\0]+"

INGEST_KEYS: Final = (
    Key(
        "ingest",
        "dedupe_seconds",
        0,
        "how long a record without an ID that comes again, the same in all of its content, gets the first one's "
        "index; 0: it is stored again. One with audit.record.id is told apart by it for good",
        high=86_400,
    ),
    Key(
        "ingest",
        "check_content",
        True,
        "whether audit.content_hash is checked on arrival; the verdict is stored with the entry",
    ),
    Key(
        "ingest",
        "refuse",
        "nothing",
        "what POST /v1/audit refuses instead of storing it with its verdict: nothing; mismatch, a record whose "
        "content hash is wrong; incomplete, one without a mandatory field; or both. What comes by OTLP is never "
        "refused for what it says",
        choices=("nothing", "mismatch", "incomplete", "both"),
    ),
    Key(
        "ingest",
        "alert",
        (),
        "a program and its arguments, started for each verdict that is a mismatch or a conflict, with a line of "
        "JSON on its standard input; none: the server's log alone says it",
        pattern=r"[^\0]+",
        form="a program and its arguments",
    ),
    Key(
        PROTECT,
        "drop",
        (),
        "fields that are left out of records before entries are made of them, by their attribute's key; body: "
        "the body",
        pattern=_FIELD,
        form="an attribute's key, or body",
    ),
    Key(
        PROTECT,
        "hmac",
        (),
        "fields whose value is replaced by its HMAC-SHA-256",
        pattern=_FIELD,
        form="an attribute's key, or body",
    ),
    Key(
        PROTECT,
        "key",
        "",
        "the file with the key of these HMACs, at least 32 bytes: absolute, or below the data directory",
    ),
    Key(
        PROTECT,
        "key_name",
        "",
        "the name of that key, which entries tell",
        pattern=r"|[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
        form="1 to 64 letters, digits and . _ -",
    ),
)


@dataclass(frozen=True, slots=True)
class ProtectConfig:
    """What [ingest.protect] says; empty where nothing was said, and then nothing is protected."""

    drop: tuple[str, ...] = ()
    hmac: tuple[str, ...] = ()
    key: str = ""
    key_name: str = ""


@dataclass(frozen=True, slots=True)
class IngestConfig:
    """What [ingest] says."""

    dedupe_seconds: int = 0
    check_content: bool = True
    refuse: str = "nothing"
    alert: tuple[str, ...] = ()
    protect: ProtectConfig = field(default_factory=ProtectConfig)


def ingest_config(got: Settings) -> IngestConfig:
    """The checked values of INGEST_KEYS."""
    return IngestConfig(
        dedupe_seconds=got.number("ingest.dedupe_seconds"),
        check_content=got.flag("ingest.check_content"),
        refuse=got.text("ingest.refuse"),
        alert=got.texts("ingest.alert"),
        protect=ProtectConfig(
            drop=got.texts("ingest.protect.drop"),
            hmac=got.texts("ingest.protect.hmac"),
            key=got.text("ingest.protect.key"),
            key_name=got.text("ingest.protect.key_name"),
        ),
    )


__all__ = ["INGEST_KEYS", "IngestConfig", "ProtectConfig", "ingest_config"]
