"""The processes that make one set of maps together, each with the devices of its own machine."""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from bimmjax._core.checks import InputError, whole_number
from bimmjax.maps._link import KEPT, Link, TeamError, listen, reach

__all__ = ["Team", "TeamError", "current_team", "share", "start_team"]

T = TypeVar("T")

_MANY = 65536
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# What `mpirun` tells each process: size, rank, and rank on its machine. JAX reads the first set
# only from Open MPI up to 4, and would take Slurm's numbers, which then count machines.
_MPI = (
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID"),
)


class Team:
    """The processes at work, as one of them sees it.

    `with team:` parts in peace at its end; an exception that leaves it ends the whole team with
    one line. It may be nested: only the outermost parts.

    index, size : which process this is, and of how many. 0 is the leader.
    """

    def __init__(self, link: Link | None = None) -> None:
        self._link = link
        self._depth = 0
        self.index, self.size = (link.index, link.size) if link else (0, 1)

    @property
    def leader(self) -> bool:
        """Whether this process does what only one may do."""
        return self.index == 0

    def check(self) -> None:
        """Raise `TeamError` if another process died or failed; costs nothing. For every batch."""
        if self._link:
            self._link.check()

    def meet(self, stage: str, value: Any = None, timeout: float | None = None) -> list[Any]:
        """Wait until every process has come to `stage`.

        Parameters
        ----------
        stage : str
            Its name, the same in all; for the messages, too.
        value : JSON-able, optional
            What this process brings.
        timeout : float, optional
            Seconds; waits as long as all are alive if not given.

        Returns
        -------
        list
            What each process brought, by index: `meet(stage, plan)[0]` is the leader's plan.

        Raises
        ------
        TeamError
            Another process died, failed or left, or did not come in time.
        """
        return self._link.meet(stage, value, timeout) if self._link else [value]

    def report(self, done: int) -> int:
        """Tell the leader how much is done here; returns what is done in all as far as known."""
        return self._link.report(done) if self._link else done

    def until(self, condition: Callable[[], bool], otherwise: str, timeout: float = 120.0) -> None:
        """Wait until `condition()`: shared file systems show late what another process wrote.

        Raises
        ------
        InputError
            With the text `otherwise`, if it does not come true within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        pause = 0.02
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise InputError(otherwise)
            time.sleep(pause)
            pause = min(1.0, 1.5 * pause)

    def __enter__(self) -> Team:
        self._depth += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if self._depth or self._link is None:
            return
        if error is None or isinstance(error, TeamError | GeneratorExit):
            self._link.leave()
        else:
            self._link.end(self._last_words(error))

    def _last_words(self, error: BaseException) -> str:
        who = f"process {self.index} of {self.size}"
        if isinstance(error, InputError):
            return str(error) if self.leader else f"{error} (said by {who})"
        if isinstance(error, KeyboardInterrupt):
            return f"{who} was interrupted; {KEPT}"
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        return f"{who} failed, {what}; {KEPT}"


_started: Team | None = None
_links = itertools.count()


def start_team(
    coordinator: str | None = None,
    processes: int | None = None,
    index: int | None = None,
    *,
    patience: float | None = None,
    heartbeat: float | None = None,
) -> Team:
    """Join the other processes of this command; once, and before JAX has touched a device.

    JAX says who is who on Slurm, Open MPI, Kubernetes and cloud TPUs; then all connect to process
    0 at the coordinator's address, in the place of JAX's own service, which would abort every
    process with a dump of its stack when one dies. JAX itself stays as in a single process:
    `jax.devices()` are those of this process.

    Parameters
    ----------
    coordinator : str, optional
        host:port of process 0.
    processes, index : int, optional
        How many there are, and which this is, from 0.
    patience : float, optional
        Seconds until all must be there; `BIMMJAX_PATIENCE` or 300 if not given.
    heartbeat : float, optional
        Seconds after which a machine that vanished without a word counts as dead;
        `BIMMJAX_HEARTBEAT` or 60 if not given. A process that dies is noticed at once.

    Raises
    ------
    InputError
        Nobody said who is who, the numbers do not fit together, or not all came in time.
    """
    global _started
    if processes is not None:
        processes = whole_number("processes", processes, 1, _MANY)
    if index is not None:
        index = whole_number("process", index, 0, (processes or _MANY) - 1)
    patience = _seconds("BIMMJAX_PATIENCE", 300.0) if patience is None else patience
    heartbeat = _seconds("BIMMJAX_HEARTBEAT", 60.0) if heartbeat is None else heartbeat
    who = _who_is_who(coordinator, processes, index, patience)
    if who.size == 1:
        _started = Team()
        return _started
    host, port = _address(who.address)
    if who.index == 0:
        link = listen(_server(host, port), who.size, patience, heartbeat)
    else:
        link = reach((host, port), who.index, who.size, patience, heartbeat)
    _choose_devices(who.local, link)
    _started = Team(link)
    return _started


def current_team() -> Team:
    """The team this process is in: started by the command, or by the user's own script.

    In a script that has called `jax.distributed.initialize`, its processes; all must come here.
    Alone otherwise. Starts nothing but the connections between them.

    Raises
    ------
    InputError
        The others cannot be reached.
    """
    if _started is not None and _started.size == 1:
        return _started
    import jax

    if _started is not None:
        jax.local_devices()  # the hosts of a TPU slice can start only together
        return _started
    if not jax.distributed.is_initialized():
        return Team()
    # JAX lets nobody use a device until all processes have asked for theirs; so all do it here.
    size, index = jax.process_count(), jax.process_index()
    return Team(_link_beside_jax(index, size)) if size > 1 else Team()


def share(units: Sequence[T], team: Team) -> list[T]:
    """The run of `units` that is this process's; together they are all, each once.

    Examples
    --------
    >>> share(["a", "b", "c"], Team())
    ['a', 'b', 'c']
    """
    first, last = (len(units) * i // team.size for i in (team.index, team.index + 1))
    return list(units[first:last])


@dataclass(frozen=True)
class _Who:
    address: str
    size: int
    index: int
    local: list[int] | None  # devices that the launcher means for this process


def _who_is_who(
    coordinator: str | None, size: int | None, index: int | None, patience: float
) -> _Who:
    local: list[int] | None = None
    for names in _MPI:
        if names[0] in os.environ and names[1] in os.environ:
            size = int(os.environ[names[0]]) if size is None else size
            index = int(os.environ[names[1]]) if index is None else index
            local = [int(os.environ[names[2]])] if names[2] in os.environ else None
            break
    if size == 1:
        return _Who("", 1, 0, None)
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    chosen = os.environ.get("JAX_LOCAL_DEVICE_IDS")
    if chosen:
        local = [int(word) for word in chosen.split(",")]
    try:
        # Not public, but the only door to what JAX knows of clusters: `jax.distributed.initialize`
        # goes on to start the service.
        from jax._src.clusters import ClusterEnv

        coordinator, size, index, found = ClusterEnv.auto_detect_unset_distributed_params(
            coordinator, size, index, local, None, int(patience)
        )
        local = None if found is None else list(found)
    except Exception as error:
        if None in (coordinator, size, index):
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            raise InputError(
                f"distributed: got an environment that JAX cannot read ({what}), "
                "wants --coordinator HOST:PORT, --processes N and --process I"
            ) from None
    if size == 1:
        return _Who("", 1, 0, None)
    if coordinator is None or size is None or index is None:
        lacking = [
            flag
            for flag, value in (
                ("--coordinator HOST:PORT", coordinator),
                ("--processes N", size),
                ("--process I", index),
            )
            if value is None
        ]
        raise InputError(
            "distributed: found no Slurm, Open MPI or cloud TPU, wants " + " and ".join(lacking)
        )
    if not 0 <= index < size:
        raise InputError(f"process: got {index}, wants a whole number from 0 to {size - 1}")
    return _Who(coordinator, size, index, local)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"coordinator: got {text!r}, wants HOST:PORT of process 0")
    return host, int(port)


def _server(host: str, port: int) -> socket.socket:
    """Listen: to this machine only if that is what the address says, else to every network."""
    try:
        if host in _LOOPBACK:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return socket.create_server((host, port), family=family)
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise InputError(
            f"coordinator: got {host}:{port}, where process 0 cannot listen "
            f"({error.strerror or error}), wants a free port of its machine"
        ) from None


def _choose_devices(local: list[int] | None, link: Link) -> None:
    """One GPU for each process where several share a machine, as JAX does; all of them otherwise.

    JAX's own choice would leave idle all but one GPU of a process that has the machine to itself.
    """
    chosen = "JAX_LOCAL_DEVICE_IDS" in os.environ
    if not local or not (chosen or link.hosts.count(link.hosts[link.index]) > 1):
        return
    given = os.environ.get("CUDA_VISIBLE_DEVICES") or os.environ.get("ROCR_VISIBLE_DEVICES")
    if given and max(local) >= len(given.split(",")):  # the launcher has chosen already
        return
    import jax

    wanted = ",".join(map(str, local))
    jax.config.update("jax_cuda_visible_devices", wanted)
    jax.config.update("jax_rocm_visible_devices", wanted)


def _link_beside_jax(index: int, size: int) -> Link:
    """Connections of our own beside JAX's service, through which process 0 tells its port."""
    from jax._src import distributed

    state = distributed.global_state
    patience, heartbeat = _seconds("BIMMJAX_PATIENCE", 300.0), _seconds("BIMMJAX_HEARTBEAT", 60.0)
    host = _address(state.coordinator_address or "")[0]
    key = f"bimmjax/port/{next(_links)}"
    assert state.client is not None
    if index == 0:
        server = _server(host, 0)
        state.client.key_value_set(key, str(server.getsockname()[1]))
        return listen(server, size, patience, heartbeat)
    try:
        port = int(state.client.blocking_key_value_get(key, int(1000 * patience)))
    except RuntimeError as error:
        raise InputError(
            f"processes: got no word from process 0 within {patience:g} s "
            f"({str(error).splitlines()[0]}), wants all to call map_fits together"
        ) from None
    return reach((host, port), index, size, patience, heartbeat)


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name)
    try:
        value = default if not text else float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        raise InputError(f"{name}: got {text!r}, wants a number of seconds")
    return value
