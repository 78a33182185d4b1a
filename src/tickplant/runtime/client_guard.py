"""Limits on what a client may cost: connections, requests, subscriptions, replies and backlog.

A client that exceeds a limit is disconnected. libzmq bounds frames and whole messages, but neither the frames of an
unfinished message, nor connections, nor what all clients cost together. So the guard asks the kernel how many bytes
each TCP connection has sent and received. It touches no message on its way to a subscriber. Engines have a guard, and
so do relays of conflated topics.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import zmq

from tickplant.runtime.child_loop import BEAT_S
from tickplant.runtime.config import ClientLimits
from tickplant.runtime.standstill import Standstill, excused
from tickplant.runtime.tcp_client import Client

ZmqContext = zmq.Context[zmq.Socket[bytes]]
ZmqSocket = zmq.Socket[bytes]

REQUEST_FRAMES: Final = 8  # per request, including the envelope
RECEIVE_BUFFER_BYTES: Final = 16 << 10
"""Kernel buffer of one connection. Small, so that a flood cannot deliver much before it is noticed."""

UNSERVED_BYTES: Final = 2 << 20
"""Received but not served yet, from all clients together. An empty frame is 2 bytes on the wire and 64 in memory."""

HEARTBEAT_BYTES_PER_S: Final = 16
"""ZeroMQ's heartbeats are bytes that never become a message: this many are free."""

SUBSCRIPTION_OVERHEAD_BYTES: Final = 16  # of the command that carries a topic
TRIM_S: Final = 5.0
"""For this long after a client was disconnected, each sweep returns memory to the system."""

_EVENTS: Final = int(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
_EVENT: Final = struct.Struct("=Hi")


class Guard:
    """Watches the clients of TCP sockets. Not thread-safe: its owner must call `attend` and `sweep`.

    Clients of `ipc://` are not watched: the folder's permissions decide who may connect.

    Args:
        limits: the limits of an engine.
        published: returns the bytes published so far.
        lossless: the publisher waits for subscribers, so none is disconnected for being behind.
        on_cut: called with `reason` and the clients disconnected for it: `number` since the last call, and `total`.
    """

    def __init__(
        self,
        limits: ClientLimits,
        published: Callable[[], int],
        *,
        lossless: bool = False,
        on_cut: Callable[..., object] = lambda **_: None,
    ) -> None:
        self.cut: Counter[str] = Counter()  # by reason
        self.subscriptions = 0
        self._limits = limits
        self._published = published
        self._lossless = lossless
        self._epoll = select.epoll()
        self._monitors: dict[int, tuple[ZmqSocket, ZmqSocket]] = {}  # by port: the watched socket and its monitor
        self._bursts: dict[int, int] = {}
        self._clients: dict[int, Client] = {}  # by libzmq's descriptor
        self._by_link: dict[int, int] = {}  # libzmq's descriptor by ours
        self._unserved = 0
        self._owed = 0  # upper bound of bytes of replies not taken
        self._last_cut_s = float("-inf")
        self._standstill = Standstill(2 * BEAT_S)
        self._told: Counter[str] = Counter()
        self._trimming: threading.Thread | None = None
        self._on_cut = on_cut
        self._raise_descriptor_limit()

    @property
    def connections(self) -> int:
        """How many clients are connected over TCP."""
        return len(self._clients)

    def watch(self, context: ZmqContext, listening: ZmqSocket, *, subscribers: bool = False) -> None:
        """Watch the clients of a socket bound to TCP from now on; subscribers may send all subscriptions at once."""
        port = int(bytes(listening.get(zmq.LAST_ENDPOINT)).rstrip(b"\0").rpartition(b":")[2])
        name = f"inproc://guard-{id(self)}-{port}"
        listening.monitor(name, _EVENTS)
        monitor = context.socket(zmq.PAIR)
        monitor.set(zmq.LINGER, 0)
        monitor.connect(name)
        self._monitors[port] = listening, monitor
        subscription_bytes = SUBSCRIPTION_OVERHEAD_BYTES + self._limits.max_topic_bytes
        self._bursts[port] = self._limits.subscriptions_per_client * subscription_bytes * subscribers
        self._epoll.register(int(monitor.get(zmq.FD)), select.EPOLLIN)

    def fileno(self) -> int:
        """The descriptor that becomes readable when `attend` has something to do."""
        return self._epoll.fileno()

    def attend(self) -> None:
        """Note new and closed connections, and what clients have sent."""
        ready = self._epoll.poll(0)
        self._listen()
        for link, _ in ready:
            if (fd := self._by_link.get(link)) is not None:
                self._look(fd)

    def sweep(self) -> None:
        """Check what only time reveals. Call this every BEAT_S."""
        self.attend()
        now_s, stood_s = time.monotonic(), self._standstill.look()
        for fd in list(self._clients):
            self._look(fd)
        self._owed = 0
        for fd, client in list(self._clients.items()):
            if client.handed:
                client.moved_s = excused(client.moved_s, stood_s, now_s)
                owed = self._ask(fd, client.owed)
                self._owed += owed
                if owed and now_s - client.moved_s > self._limits.unread_s:
                    self._cut(fd, "reads no replies")
        if not self._lossless:
            self._look_for_backlog()
        for reason, count in (self.cut - self._told).items():
            self._on_cut(reason=reason, number=count, total=self.cut[reason])
        self._told = self.cut.copy()
        if now_s - self._last_cut_s < TRIM_S and not (self._trimming and self._trimming.is_alive()):
            self._trimming = threading.Thread(target=_give_back, daemon=True)
            self._trimming.start()

    def served(self, fd: int, frames: Iterable[int]) -> None:
        """Note that a client's message, with frames of these sizes, has been processed."""
        if (client := self._client(fd)) is not None:
            client.served += wire_bytes(frames)

    def subscribed(self, fd: int, topic: bytes, *, on: bool) -> None:
        """Note that a client has subscribed to a topic or unsubscribed."""
        client = self._client(fd)
        if client is None or on == (topic in client.topics):
            return
        self.subscriptions += 1 if on else -1
        if not on:
            client.topics.remove(topic)
            return
        client.topics.add(topic)
        limits = self._limits
        if len(topic) > limits.max_topic_bytes:
            self._cut(fd, "topic too long")
        elif len(client.topics) > limits.subscriptions_per_client or self.subscriptions > limits.max_subscriptions:
            self._cut(fd, "too many subscriptions")

    def may_reply(self, fd: int, frames: Iterable[int]) -> bool:
        """Whether there is room for a reply, which then counts. Clients with replies unread longest make room."""
        client = self._client(fd)
        size, most = wire_bytes(frames), self._limits.replies_mib << 20
        if client is None or size > most:  # client disconnected or gone, or reply too large
            return False
        while self._owed + size > most:
            # A share is what each client could owe: a client that owes less is not to blame for the lack of room.
            share = (most - size) // self._limits.max_connections
            owing = {other: self._ask(other, each.owed) for other, each in list(self._clients.items()) if each.handed}
            self._owed = sum(owing.values())
            if self._owed + size <= most:
                break
            victims = [other for other, owed in owing.items() if owed > share and other in self._clients]
            if not victims:
                return False
            victim = min(victims, key=lambda other: self._clients[other].moved_s)
            self._owed -= owing[victim]
            self._cut(victim, "reads no replies")
        self._ask(fd, client.owed)  # a client that owes nothing has kept nothing waiting until now
        if fd not in self._clients:
            return False
        client.handed += size
        self._owed += size
        return True

    def not_sent(self, fd: int, frames: Iterable[int]) -> None:
        """A reply for which there was room was not sent: it no longer counts."""
        if (client := self._clients.get(fd)) is not None:
            size = wire_bytes(frames)
            client.handed -= size
            self._owed -= size

    def cut_off(self, fd: int, reason: str) -> None:
        """Disconnect a client that is still connected."""
        if self._client(fd) is not None:
            self._cut(fd, reason)

    def counters(self) -> dict[str, int | dict[str, int]]:
        """What the supervisor shows."""
        return {
            "connections": self.connections,
            "subscriptions": self.subscriptions,
            "clients_cut": dict(self.cut),
            "replies_owed_bytes": self._owed,
        }

    def close(self) -> None:
        """Release everything except the watched sockets, which belong to others."""
        for fd in list(self._clients):
            self._forget(fd)
        for listening, monitor in self._monitors.values():
            with contextlib.suppress(zmq.ZMQError):  # closed already
                listening.disable_monitor()
            monitor.close(0)
        self._monitors.clear()
        self._epoll.close()

    # -- inner

    def _client(self, fd: int) -> Client | None:
        """The client with this descriptor; a message may arrive before the news of its connection."""
        if fd not in self._clients:
            self._listen()
        return self._clients.get(fd)

    def _listen(self) -> None:
        for port, (_, monitor) in self._monitors.items():
            while True:
                try:
                    head, _ = monitor.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                event, fd = _EVENT.unpack(head)
                known = self._clients.get(fd)
                if event == zmq.EVENT_DISCONNECTED and known is not None and known.port != port:
                    continue  # late news: the descriptor by now belongs to a client of another socket
                self._forget(fd)  # the previous client with this descriptor
                if event == zmq.EVENT_ACCEPTED:
                    self._greet(port, fd)

    def _greet(self, port: int, fd: int) -> None:
        try:
            link = socket.socket(fileno=os.dup(fd))
        except OSError:  # already gone
            return
        client = Client(link, port)
        if not self._ours(link, port):
            link.close()  # the descriptor has been reused
            return
        self._clients[fd] = client
        self._by_link[link.fileno()] = fd
        if sum(other.port == port for other in self._clients.values()) > self._limits.max_connections:
            self._cut(fd, "too many connections")
            return
        self._epoll.register(link, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)

    @staticmethod
    def _ours(link: socket.socket, port: int) -> bool:
        try:
            tcp = link.family in (socket.AF_INET, socket.AF_INET6) and link.type == socket.SOCK_STREAM
            return tcp and link.getsockname()[1] == port
        except OSError:
            return False

    def _look(self, fd: int) -> None:
        """Compare what a client has sent with what it may send."""
        client = self._clients.get(fd)
        if client is None:
            return
        limits = self._limits
        pending = self._ask(fd, client.unserved)
        if fd not in self._clients:
            return
        self._unserved += pending - client.pending
        client.pending = pending
        allowed = (limits.request_kib << 10) + HEARTBEAT_BYTES_PER_S * (time.monotonic() - client.since_s)
        allowed += self._bursts[client.port]
        if pending > allowed:
            self._cut(fd, "unfinished request")
        elif self._unserved > UNSERVED_BYTES:
            self._cut(max(self._clients, key=lambda other: self._clients[other].pending), "unfinished request")

    def _look_for_backlog(self) -> None:
        """Disconnect subscribers that took nothing, or hardly anything, while more than `backlog_mib` was published."""
        published, most = self._published(), self._limits.backlog_mib << 20
        writable = select.poll()
        for client in self._clients.values():
            writable.register(client.link, select.POLLOUT)
        free = {link for link, _ in writable.poll(0)}
        for fd, client in list(self._clients.items()):
            if client.link.fileno() not in free:
                if client.blocked_at is None:
                    client.blocked_at = published
                elif published - client.blocked_at > most:
                    self._cut(fd, "too far behind")
            elif client.blocked_at is not None:
                # Room may be momentary, before libzmq fills it again: only a small queue ends the blockage.
                room = client.link.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
                if 4 * self._ask(fd, client.unsent) < room:
                    client.blocked_at = None

    def _ask(self, fd: int, question: Callable[[], int]) -> int:
        """What the kernel says about a client; 0 if the connection is gone."""
        try:
            return question()
        except OSError:
            self._forget(fd)
            return 0

    def _cut(self, fd: int, reason: str) -> None:
        self.cut[reason] += 1
        self._last_cut_s = time.monotonic()
        with contextlib.suppress(OSError):
            self._clients[fd].link.shutdown(socket.SHUT_RDWR)
        self._forget(fd)

    def _forget(self, fd: int) -> None:
        client = self._clients.pop(fd, None)
        if client is None:
            return
        self.subscriptions -= len(client.topics)
        self._unserved -= client.pending
        del self._by_link[client.link.fileno()]
        with contextlib.suppress(OSError):
            self._epoll.unregister(client.link)
        client.link.close()

    def _raise_descriptor_limit(self) -> None:
        """Allow for two descriptors per connection on two sockets, and for the engine's own."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 256 + 5 * self._limits.max_connections
        if soft != resource.RLIM_INFINITY and soft < wanted:
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def wire_bytes(frames: Iterable[int]) -> int:
    """Bytes on the wire of a message with frames of these sizes; a lower bound, since subscriptions have two forms."""
    return sum(size + (2 if size < 256 else 9) for size in frames)


def _give_back() -> None:
    """Make malloc return free memory to the system."""
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
