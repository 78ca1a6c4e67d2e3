"""`merklelog token`: who may come to a log over the network, and with what."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import click

from merklelog.cli.command import command, directory_argument, number
from merklelog.cli.results import Origin
from merklelog.cli.session import Session, visible
from merklelog.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from merklelog.servers.tokens import Token

_DAY: Final = 86_400
_SCOPES: Final = ("append", "read", "admin")
_RELOAD: Final = "a server that is running takes this in at SIGHUP"

Id = Annotated[str, "its ID, which is no secret"]
Name = Annotated[str, "whose it is: idempotency keys belong to that name"]
Scopes = Annotated[list[str], "what it allows: append, read, admin"]
Certificate = Annotated[str | None, "the name of the client certificate that stands for it; null for a token"]
Expires = Annotated[int | None, "when it stops counting; null: never"]


@dataclass(frozen=True, slots=True)
class AddedResult:
    """A token was made, or a client certificate granted something."""

    origin: Origin
    id: Id
    name: Name
    scopes: Scopes
    certificate: Certificate
    expires: Expires
    token: Annotated[str | None, "the token: shown now and never again; null with a certificate"]


@dataclass(frozen=True, slots=True)
class TokenResult:
    """What is kept of a token."""

    id: Id
    name: Name
    scopes: Scopes
    certificate: Certificate
    created: Annotated[int, "when it was made"]
    expires: Expires
    revoked: Annotated[int | None, "when it was revoked; null: it was not"]


@dataclass(frozen=True, slots=True)
class TokensResult:
    """Every token that the log ever gave out."""

    origin: Origin
    tokens: Annotated[list[TokenResult], "the tokens, oldest first"]


@dataclass(frozen=True, slots=True)
class RevokedResult:
    """Tokens were revoked."""

    origin: Origin
    tokens: Annotated[list[TokenResult], "those revoked, now or before"]


@click.group("token")
def token() -> None:
    """Say who may append to a log over the network, and read it.

    A log asks for tokens as soon as its first one was added, and from then on. Each change is a line in
    DIR/admin.jsonl.
    """


@command(
    "add",
    example="merklelog token add trail --name collector --scope append",
    result=AddedResult,
)
@directory_argument()
@click.option(
    "--name", metavar="NAME", required=True, help="Whose token it is, such as collector or ci@example."
)
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(_SCOPES),
    multiple=True,
    required=True,
    help="What it allows; again for more.",
)
@click.option("--days", metavar="N", type=number, help="For how many days.  [default: until it is revoked]")
@click.option(
    "--certificate",
    metavar="CERT",
    help="No token: who shows this client certificate. A PEM file, or a name like URI:spiffe://example.com/a, "
    "DNS:a.example.com, CN:a.",
)
@click.pass_obj
def add(
    session: Session,
    directory: str,
    name: str,
    scopes: tuple[str, ...],
    days: int | None,
    certificate: str | None,
) -> None:
    """Make a token for the log in DIR and print it, this once.

    The log keeps only its SHA-256 hash. Who holds it sends "Authorization: Bearer TOKEN" with each request.
    """
    from merklelog.servers.admin_log import note
    from merklelog.servers.caller import Scope
    from merklelog.servers.tokens import change_tokens, make_token

    path, origin = _log(directory)
    now = int(time.time())
    expires = None if days is None else now + days * _DAY
    made, shown = make_token(
        name,
        [Scope(each) for each in scopes],
        now,
        expires=expires,
        certificate=None if certificate is None else _certificate(certificate),
    )

    def told(_tokens: tuple[Token, ...]) -> None:
        note(path, "token added", {**_details(made), "scopes": list(made.scopes), "expires": made.expires})

    change_tokens(path, lambda old: (*old, made), told)
    result = AddedResult(origin, made.id, name, list(made.scopes), made.certificate, expires, shown)
    line = f"{made.certificate}: {', '.join(made.scopes)}" if shown is None else shown
    session.show(result, [visible(line)])
    if shown is not None:
        session.note(f"token {made.id} of {name}: keep it now, it is not shown again")
    session.note(_RELOAD)


@command("list", example="merklelog token list trail", result=TokensResult)
@directory_argument()
@click.pass_obj
def list_(session: Session, directory: str) -> None:
    """List the tokens of the log in DIR, revoked ones too.

    A line each: ID, state, scopes, name and, where one stands for it, the client certificate.
    """
    from merklelog.servers.tokens import read_tokens

    path, origin = _log(directory)
    tokens = read_tokens(path)
    session.show(TokensResult(origin, [_result(each) for each in tokens or ()]), map(_line, tokens or ()))
    if tokens is None:
        session.note("this log never had a token: a server on loopback serves it to everyone on this machine")


@command("revoke", example="merklelog token revoke trail collector", result=RevokedResult)
@directory_argument()
@click.argument("which", metavar="ID|NAME")
@click.pass_obj
def revoke(session: Session, directory: str, which: str) -> None:
    """Take back a token of the log in DIR, or all of a name.

    A log whose last token is revoked still asks for one.
    """
    from merklelog.servers.admin_log import note
    from merklelog.servers.tokens import change_tokens, find_token, revoked

    path, origin = _log(directory)
    now = int(time.time())
    found: list[Token] = []
    fresh: list[Token] = []

    def change(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
        chosen = find_token(tokens, which)
        fresh.extend(each for each in chosen if each.revoked is None)
        found.extend(revoked(each, now) for each in chosen)
        return tuple(revoked(each, now) if each in chosen else each for each in tokens)

    def told(_tokens: tuple[Token, ...]) -> None:
        for each in fresh:
            note(path, "token revoked", _details(each))

    change_tokens(path, change, told)
    session.show(RevokedResult(origin, [_result(each) for each in found]), map(_line, found))
    session.note(_RELOAD)


token.add_command(add)
token.add_command(list_)
token.add_command(revoke)


def _log(directory: str) -> tuple[Path, str]:
    """A log's directory and origin. Raises NotALogError, ConfigError."""
    from merklelog.log import load_config
    from merklelog.log.directory import check_directory

    path = Path(directory).absolute()
    check_directory(path)
    return path, load_config(path).origin


def _certificate(given: str) -> str:
    """The name of a client certificate, given so or as a PEM file."""
    from merklelog.servers.tokens import CERTIFICATE_KINDS

    if given.startswith(CERTIFICATE_KINDS):
        return given
    from merklelog.servers.peer import client_name

    try:
        found = client_name(Path(given).read_bytes())
    except OSError as error:
        kinds = ", ".join(CERTIFICATE_KINDS)
        why = f"no file ({error.strerror}), and no name with {kinds}"
        raise UsageError(f"--certificate {given!r}: {why}") from error
    if found is None:
        raise ConfigError(f"{given}: no certificate in PEM that has a name")
    return found


def _details(each: Token) -> dict[str, str | int | bool | list[str] | None]:
    return {"id": each.id, "name": each.name, "certificate": each.certificate}


def _result(each: Token) -> TokenResult:
    return TokenResult(
        each.id, each.name, list(each.scopes), each.certificate, each.created, each.expires, each.revoked
    )


def _line(each: Token) -> str:
    now = time.time()
    state = "revoked" if each.revoked is not None else "counts" if each.good(now) else "expired"
    if state == "counts" and each.expires is not None:
        state = time.strftime("until %Y-%m-%d", time.gmtime(each.expires))
    certificate = f"  {each.certificate}" if each.certificate else ""
    return visible(f"{each.id}  {state}  {','.join(each.scopes)}  {each.name}{certificate}")
