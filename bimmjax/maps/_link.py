"""The line between the processes of a team: all hold a connection to process 0.

The system closes a dead process's connections at once, so its death is known at once, and process
0 tells the others whose it was. JSON lines only: nothing that arrives is ever executed.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from bimmjax import __version__
from bimmjax._core.checks import InputError

_GREETING = f"bimmjax {__version__}"
_POLL = 1.0  # seconds; a wait without end would keep Ctrl-C out on some systems
_GOODBYE = 5.0  # seconds for the last words to arrive
KEPT = "what was done is kept, the same command goes on"


class TeamError(InputError):
    """Another process of the team died, failed, or left: this one cannot go on alone."""


class _Peer:
    """One connection, written by any thread and read by its own."""

    def __init__(self, connection: socket.socket, index: int) -> None:
        self.index = index
        self.gone = False
        self._socket = connection
        self._writing = threading.Lock()
        self.lines: TextIO = connection.makefile("r", encoding="utf-8", newline="\n")

    def send(self, **message: Any) -> None:
        # One that cannot be reached is noticed by its reader, which has the better story to tell.
        with self._writing, contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def finish(self) -> None:
        """No more from our side. The other side can still speak."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the reader, too
        with contextlib.suppress(OSError):
            self._socket.close()


class Link:
    """What one process knows of the others; made by `listen` (process 0) or `reach`."""

    def __init__(self, index: int, size: int) -> None:
        self.index, self.size = index, size
        self.hosts: list[str] = []
        self._peers: dict[int, _Peer] = {}
        self._news = threading.Condition()
        self._ended: str | None = None
        self._arrived: dict[str, dict[int, Any]] = {}
        self._results: dict[str, list[Any]] = {}
        self._left: set[int] = set()
        self._parted = False
        self._done: dict[int, int] = {}

    def check(self) -> None:
        """Raise `TeamError` if the team has come to an end."""
        if self._ended is not None:
            raise TeamError(self._ended)

    def meet(self, stage: str, value: Any, timeout: float | None) -> list[Any]:
        """Wait until all have come to `stage`; what each brought, by index."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._news:
            if self.index == 0:
                here = self._arrived.setdefault(stage, {})
                here[0] = value
                self._wait(stage, lambda: len(here) == self.size, deadline)
                del self._arrived[stage]
                values = [here[i] for i in range(self.size)]
            else:
                self._peers[0].send(at=stage, value=value)
                self._wait(stage, lambda: stage in self._results, deadline)
                return self._results.pop(stage)
        for peer in list(self._peers.values()):
            peer.send(go=stage, values=values)
        return values

    def report(self, done: int) -> int:
        """Tell process 0 how much is done here; what is done by all whom we hear of."""
        with self._news:
            self._done[self.index] = done
            total = sum(self._done.values())
        if self.index:
            self._peers[0].send(done=done)
        return total

    def end(self, text: str) -> None:
        """End the team with one line for all; the first reason stays."""
        if self.index == 0:
            self._end(text)
        else:
            self._peers[0].send(failed=text)
        self._part()

    def leave(self) -> None:
        """Part: in peace, or because the team has come to an end."""
        for peer in list(self._peers.values()):
            peer.send(bye=True)
        self._part()

    def _part(self) -> None:
        # Closed at once, what the other side has not read yet could be lost.
        for peer in list(self._peers.values()):
            peer.finish()
        wanted = time.monotonic() + _GOODBYE
        with self._news:
            # Process 0 may still have to write the table when the others leave.
            while not self._heard_all() and time.monotonic() < wanted:
                self._news.wait(0.1)
        self._parted = True
        for peer in list(self._peers.values()):
            peer.close()

    def _heard_all(self) -> bool:
        return all(peer.gone or peer.index in self._left for peer in self._peers.values())

    def _wait(self, stage: str, over: Callable[[], bool], deadline: float | None) -> None:
        while True:
            self.check()
            if over():
                return
            missing = self._missing(stage)
            if self._left & missing:
                self._end(f"{self._name(min(self._left & missing))} left before {stage!r}; {KEPT}")
                continue
            if deadline is not None and time.monotonic() > deadline:
                who = ", ".join(map(str, sorted(missing)))
                self._end(f"process {who} of {self.size} did not come to {stage!r}; {KEPT}")
                continue
            self._news.wait(_POLL)

    def _missing(self, stage: str) -> set[int]:
        if self.index:
            return {0}
        return set(range(self.size)) - set(self._arrived.get(stage, ()))

    def _name(self, index: int) -> str:
        return f"process {index} of {self.size}"

    def _end(self, text: str) -> None:
        with self._news:
            if self._ended is None:
                self._ended = text
                for peer in list(self._peers.values()):
                    if peer.index not in self._left:
                        peer.send(end=text)
            self._news.notify_all()

    def _add(self, peer: _Peer) -> None:
        self._peers[peer.index] = peer
        threading.Thread(target=self._read, args=(peer,), daemon=True).start()

    def _read(self, peer: _Peer) -> None:
        # A reset connection, one timed out by the system, and half a line all mean the same.
        with contextlib.suppress(OSError, ValueError):
            for line in peer.lines:
                self._hear(peer, json.loads(line))
        peer.gone = True
        if peer.index not in self._left and not self._parted:
            self._end(f"{self._name(peer.index)} died; {KEPT}")
        with self._news:
            self._news.notify_all()

    def _hear(self, peer: _Peer, message: dict[str, Any]) -> None:
        with self._news:
            if "at" in message:
                self._arrived.setdefault(message["at"], {})[peer.index] = message["value"]
            elif "go" in message:
                self._results[message["go"]] = message["values"]
            elif "done" in message:
                self._done[peer.index] = message["done"]
            elif "hosts" in message:
                self.hosts = message["hosts"]
            elif "bye" in message:
                self._left.add(peer.index)
            elif "end" in message or "failed" in message:
                self._left.add(peer.index)
                self._end(message.get("end") or message["failed"])
            self._news.notify_all()
        if {"bye", "end", "failed"} & message.keys():
            if self.index == 0:
                peer.send(bye=True)
            if self.index == 0 or "end" in message:
                peer.finish()


def listen(server: socket.socket, size: int, patience: float, heartbeat: float) -> Link:
    """Process 0: wait for all the others on `server`, which is closed afterwards."""
    link = Link(0, size)
    hosts = {0: socket.gethostname()}
    deadline = time.monotonic() + patience
    with server:
        while len(hosts) < size:
            server.settimeout(max(0.01, min(_POLL, deadline - time.monotonic())))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                if time.monotonic() > deadline:
                    missing = ", ".join(str(i) for i in range(size) if i not in hosts)
                    text = (
                        f"processes: got {len(hosts)} of {size} within {patience:g} s, wants all "
                        f"(missing: {missing})"
                    )
                    link.end(text)
                    raise InputError(text) from None
                link.check()
                continue
            _welcome(link, connection, hosts, heartbeat)
    link.hosts = [hosts[i] for i in range(size)]
    for peer in list(link._peers.values()):
        peer.send(hosts=link.hosts)
    return link


def _welcome(
    link: Link, connection: socket.socket, hosts: dict[int, str], heartbeat: float
) -> None:
    """Take one in, or turn it away and tell it why."""
    connection.settimeout(_GOODBYE)
    peer = _Peer(connection, -1)
    try:
        hello = json.loads(peer.lines.readline(4096))
        greeting, index, size = hello["hello"], int(hello["index"]), int(hello["size"])
        host = str(hello["host"])
    except (OSError, ValueError, TypeError, KeyError):  # someone who has lost the way
        peer.close()
        return
    refusal = None
    if greeting != _GREETING:
        refusal = f"processes: got {greeting} beside {_GREETING}, wants the same everywhere"
    elif size != link.size:
        refusal = f"processes: got {size}, wants {link.size} as process 0 has it"
    elif index in hosts or not 0 < index < size:
        refusal = f"process: got {index} twice, wants each from 0 to {size - 1} once"
    if refusal:
        peer.send(end=refusal)
        peer.close()
        return
    peer.index = index
    hosts[index] = host
    keep_watch(connection, heartbeat)
    link._add(peer)


def reach(address: tuple[str, int], index: int, size: int, patience: float, beat: float) -> Link:
    """Any other process: connect to process 0, and wait until all the others have."""
    deadline = time.monotonic() + patience
    while True:
        try:
            connection = socket.create_connection(address, timeout=5.0)
            # On one machine, a port nobody listens on may connect to itself.
            if connection.getsockname() != connection.getpeername():
                break
            connection.close()
            reason = "nobody listens"
        except OSError as error:
            reason = error.strerror or str(error)
        if time.monotonic() > deadline:
            raise InputError(
                f"coordinator: got {address[0]}:{address[1]}, which did not answer within "
                f"{patience:g} s ({reason}), wants the address of process 0"
            )
        time.sleep(0.2)
    keep_watch(connection, beat)
    link = Link(index, size)
    peer = _Peer(connection, 0)
    peer.send(hello=_GREETING, index=index, size=size, host=socket.gethostname())
    link._add(peer)
    with link._news:
        while not link.hosts:
            link.check()
            link._news.wait(_POLL)
    return link


def keep_watch(connection: socket.socket, heartbeat: float) -> None:
    """Let the system itself ask whether the other machine is there: it may vanish without a word.

    The system asks on its own: a process that computes for minutes is not taken for dead.
    """
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = max(1, int(heartbeat / 2))
    step = max(1, int(heartbeat / 8))
    for name, value in (
        ("TCP_NODELAY", 1),
        ("TCP_KEEPIDLE", idle),
        ("TCP_KEEPALIVE", idle),  # macOS's name for it
        ("TCP_KEEPINTVL", step),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", int(1000 * heartbeat)),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
