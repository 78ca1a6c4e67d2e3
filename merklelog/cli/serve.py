"""`merklelog serve`: logs on the network."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import click

from merklelog.cli.command import command, directory_argument
from merklelog.errors import UsageError


@command(
    "serve",
    example="merklelog serve trail\nmerklelog serve trail --otlp-grpc 127.0.0.1:4317 --otlp-http 127.0.0.1:4318\n"
    "merklelog serve --root /var/lib/merklelog --log-format json",
)
@directory_argument("[DIR]...", "directories", nargs=-1)
@click.option(
    "--root", metavar="DIR", type=click.Path(), help="Serve every log below DIR; SIGHUP takes in new ones."
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(),
    help="The server's configuration.  [default: ROOT/server.toml, or merklelog.toml of the only log]",
)
@click.option(
    "--grpc", metavar="ADDRESS", help="Where gRPC listens; '' for nowhere.  [default: 127.0.0.1:7070]"
)
@click.option(
    "--http", metavar="ADDRESS", help="Where HTTP listens; '' for nowhere.  [default: 127.0.0.1:7080]"
)
@click.option(
    "--admin", metavar="ADDRESS", help="Where metrics and readiness are.  [default: 127.0.0.1:7090]"
)
@click.option(
    "--otlp-grpc",
    metavar="ADDRESS",
    help="Where OpenTelemetry's logs come in over gRPC, as 127.0.0.1:4317.  [default: nowhere]",
)
@click.option(
    "--otlp-http", metavar="ADDRESS", help="The same over HTTP, as 127.0.0.1:4318.  [default: nowhere]"
)
@click.option("--log-format", metavar="FORMAT", help="human, or json for an object a line.  [default: human]")
def serve(
    directories: tuple[str, ...],
    root: str | None,
    config: str | None,
    **addresses: str | None,
) -> None:
    """Serve logs over gRPC and HTTP until SIGTERM or SIGINT.

    A single DIR stands at / over HTTP, several each below their name. SIGTERM drains: what is under way is
    answered, nothing that was acknowledged is lost. SIGHUP reloads. Its log goes to standard error.
    """
    # grpcio's C core would write lines of its own to standard error, and is told so before it is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # None of what is imported is garbage, nor will it be while the server runs: it is never looked through.
    gc.disable()
    try:
        from merklelog.servers.places import Places
        from merklelog.servers.run import serve as run
    except ModuleNotFoundError as error:
        raise UsageError(f"a server needs {error.name}: install merklelog[serve]") from error
    finally:
        gc.freeze()
        gc.enable()
    places = Places(
        tuple(Path(each) for each in directories),
        None if root is None else Path(root),
        None if config is None else Path(config),
    )
    options = {f"server.{name}": value for name, value in addresses.items() if value is not None}
    run(places, os.environ, options)
