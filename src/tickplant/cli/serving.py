"""The command that serves a store to other machines."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from typing import Final

import click

from tickplant.cli.options import config_option, data_dir_of, data_option, examples
from tickplant.cli.output import say
from tickplant.cli.stored import check_store
from tickplant.errors import TickplantError
from tickplant.runtime.signals import signals_as_fd

TOKEN_VARIABLE: Final = "TICKPLANT_FLIGHT_TOKEN"  # noqa: S105  # where the token is, not the token


@click.command(epilog=examples("serve", "serve --data data --flight 127.0.0.1:8815"))
@config_option
@data_option
@click.option(
    "--flight",
    "address",
    default="127.0.0.1:8815",
    show_default=True,
    metavar="HOST:PORT",
    help="Address to listen on.",
)
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="TLS certificate chain, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="Key of the certificate, PEM.")
def serve(file: Path | None, data_dir: Path | None, address: str, tls_cert: Path | None, tls_key: Path | None) -> None:
    """Serve the store to other machines over Arrow Flight.

    Clients send the token of the environment variable TICKPLANT_FLIGHT_TOKEN. An address that other machines can reach
    needs both a token and a TLS certificate.
    """
    import pyarrow as pa  # noqa: PLC0415  # slow to import

    from tickplant.store.flight import FlightServer  # noqa: PLC0415  # likewise

    store = data_dir_of(data_dir, file)
    check_store(store)
    token = os.environ.get(TOKEN_VARIABLE) or None
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise click.UsageError(f"--flight {address!r} is not HOST:PORT")
    local = host in ("127.0.0.1", "localhost", "[::1]")
    if not local and token is None:
        raise click.UsageError(f"other machines can reach --flight {address}: put a token into {TOKEN_VARIABLE}")
    if not local and tls_cert is None:
        raise click.UsageError(f"other machines can reach --flight {address}: give --tls-cert and --tls-key")
    pair = None if tls_cert is None or tls_key is None else (tls_cert.read_bytes(), tls_key.read_bytes())
    scheme = "grpc" if pair is None else "grpc+tls"
    try:
        server = FlightServer(store, f"{scheme}://{address}", token=token, certificate=pair)
    except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
        hint = f"; are {tls_cert} and {tls_key} PEM files that belong together?" if pair else ""
        raise TickplantError(f"{address}: cannot be listened on: {error}{hint}") from error
    with signals_as_fd(signal.SIGINT, signal.SIGTERM) as stopped:
        say(f"serving {store} on {scheme}://{host}:{server.port}")
        select.select([stopped], [], [])
        server.shutdown()
