"""The store for readers on other machines: Arrow Flight, with a token and TLS.

    client = pyarrow.flight.FlightClient("grpc+tls://host:8815", tls_root_certs=…)
    options = pyarrow.flight.FlightCallOptions(headers=[(b"authorization", b"Bearer TOKEN")])
    reader = client.do_get(pyarrow.flight.Ticket(b'{"table": "trades", "symbol": "BTCUSDT"}'), options)

A ticket is a `Question` as JSON. The answer streams: a batch is made once the transport has taken the previous one, so
a client costs the server a few batches, however slow the client and however large its question. More than MAX_ANSWERS
answers at a time are refused, and a client that takes nothing for IDLE_S is disconnected.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.flight as fl

from tickplant.errors import TickplantError
from tickplant.records.arrow_columns import Prices
from tickplant.store.flight_answers import IDLE_S, Answers, TooManyAnswersError
from tickplant.store.pages import ALL_TABLES
from tickplant.store.reader import Store
from tickplant.store.rows import Rows
from tickplant.store.selection import Clock

MAX_ANSWERS: Final = 16
"""How many answers may stream at the same time: each holds a few batches."""
MAX_TICKET_BYTES: Final = 1 << 16


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a ticket asks for, as arguments of the methods of `Store`."""

    table: str = "ticks"
    venue: str | list[str] | None = None
    symbol: str | list[str] | None = None
    start: int | str | None = None
    end: int | str | None = None
    clock: Clock = "recv"
    columns: list[str] | None = None
    where: str | None = None
    prices: Prices = "decimal"

    def rows(self, store: Store) -> Rows:
        """The rows. Raises TickplantError or ValueError if the question cannot be answered."""
        if self.table not in ALL_TABLES:
            raise TickplantError(f"unknown table {self.table!r}; choose from {', '.join(ALL_TABLES)}")
        rows: Rows = getattr(store, self.table)(
            self.venue,
            self.symbol,
            self.start,
            self.end,
            clock=self.clock,
            columns=self.columns,
            where=self.where,
            prices=self.prices,
        )
        return rows


_KEYS: Final = f"a ticket is a JSON object with any of {', '.join(Question.__struct_fields__)}"
_READS_ONLY: Final = "this server reads its store, and answers tickets alone"


def _question(descriptor: Any) -> bytes:
    """The command of a descriptor. Raises FlightServerError for a path."""
    if descriptor.command is None:
        raise fl.FlightServerError('a question is a command such as {"table": "trades"}, and no path')
    command: bytes = descriptor.command
    return command


class _Token(fl.ServerMiddlewareFactory):  # type: ignore[misc]  # pyarrow has no types
    """Refuses calls without the token."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._wanted = f"Bearer {token}".encode()

    def start_call(self, info: Any, headers: dict[str, list[str | bytes]]) -> None:
        """Check the token. Raises FlightUnauthenticatedError."""
        del info
        values = [value for name, found in headers.items() if name.lower() == "authorization" for value in found]
        given = values[0] if values else b""
        if not hmac.compare_digest(given.encode() if isinstance(given, str) else given, self._wanted):
            raise fl.FlightUnauthenticatedError("the header authorization must be: Bearer and the server's token")


class FlightServer(fl.FlightServerBase):  # type: ignore[misc]  # pyarrow has no types
    """Answers tickets from a store. `port` is the listening port; `serve` waits until `shutdown`."""

    def __init__(
        self,
        data_dir: Path,
        location: str,
        *,
        token: str | None = None,
        certificate: tuple[bytes, bytes] | None = None,
        max_answers: int = MAX_ANSWERS,
        idle_s: float = IDLE_S,
    ) -> None:
        """Listen.

        Args:
            data_dir: the store.
            location: such as grpc+tls://0.0.0.0:8815, or grpc://127.0.0.1:0.
            token: the token that clients must send; None lets everybody read.
            certificate: PEM of the chain and of its key, for TLS.
            max_answers: how many answers may stream at the same time.
            idle_s: a client that takes nothing of its answer for this long is disconnected.
        """
        self._data_dir = data_dir
        super().__init__(
            location,
            tls_certificates=None if certificate is None else [certificate],
            middleware={} if token is None else {"token": _Token(token)},
        )
        self.answers = Answers(max_answers, idle_s)

    def shutdown(self) -> None:
        """Stop, even if a client does not take its answer."""
        self.answers.close(self.port)
        super().shutdown()

    def do_get(self, context: Any, ticket: Any) -> Any:
        """The rows that a ticket asks for."""
        rows = self._rows(ticket.ticket)
        # A generator of tables: one of batches sends no dictionaries, and an error in a RecordBatchReader sends its
        # traceback to the client.
        return fl.GeneratorStream(rows.schema, self._tables(rows, context.peer()))

    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        """Schema and ticket of a question, given as the descriptor's command."""
        del context
        rows = self._rows(_question(descriptor))
        endpoint = fl.FlightEndpoint(descriptor.command, [])
        return fl.FlightInfo(rows.schema, descriptor, [endpoint], -1, -1)

    def get_schema(self, context: Any, descriptor: Any) -> Any:
        """Schema of a question, given as the descriptor's command.

        pyarrow adds a traceback to errors of this method, but not to those of `get_flight_info`, which has the schema
        too.
        """
        del context
        return fl.SchemaResult(self._rows(_question(descriptor)).schema)

    def list_actions(self, context: Any) -> list[Any]:
        """An empty list: there are no actions."""
        del context
        return []

    def do_action(self, context: Any, action: Any) -> Any:
        """Raises FlightServerError."""
        del context
        raise fl.FlightServerError(f"unknown action {action.type!r}: {_READS_ONLY}")

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Raises FlightServerError."""
        del context, descriptor, reader, writer
        raise fl.FlightServerError(f"writing is not supported: {_READS_ONLY}")

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Raises FlightServerError."""
        del context, descriptor, reader, writer
        raise fl.FlightServerError(f"exchange is not supported: {_READS_ONLY}")

    def list_flights(self, context: Any, criteria: Any) -> Iterator[Any]:
        """A question for each table."""
        for table in ALL_TABLES:
            command = msgspec.json.encode({"table": table})
            yield self.get_flight_info(context, fl.FlightDescriptor.for_command(command))
        del criteria

    def _rows(self, ticket: bytes) -> Rows:
        try:
            if len(ticket) > MAX_TICKET_BYTES:
                raise ValueError(f"a ticket has at most {MAX_TICKET_BYTES} bytes")
            # A store for each answer, since each answer streams in its own thread.
            return msgspec.json.decode(ticket, type=Question).rows(Store(self._data_dir))
        except msgspec.ValidationError as error:  # names the key
            raise fl.FlightServerError(f"the ticket cannot be answered: {error}; {_KEYS}") from error
        except msgspec.DecodeError as error:
            raise fl.FlightServerError(f"the ticket cannot be answered: not JSON ({error}); {_KEYS}") from error
        except (TickplantError, ValueError, OSError, pa.ArrowException, RecursionError) as error:
            raise fl.FlightServerError(f"the ticket cannot be answered: {error}") from error

    def _tables(self, rows: Rows, peer: str) -> Iterator[pa.Table]:
        # Here, not in do_get: an answer that is never taken does not start, so it could not give its place back.
        try:
            with self.answers.place(peer) as answer:
                for batch in rows.batches():
                    table = pa.Table.from_batches([batch])
                    with answer.handed_over():
                        yield table
        except TooManyAnswersError:
            raise fl.FlightUnavailableError("too many answers stream already; try again") from None
        except (TickplantError, ValueError, OSError, pa.ArrowException) as error:
            raise fl.FlightServerError(f"the answer ends early: {error}") from error
