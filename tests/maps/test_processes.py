"""Several real processes: who does what, and how they end when one of them dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pytest

from bimmjax import InputError
from bimmjax.maps import _processes
from bimmjax.maps._processes import Team, current_team, share, start_team

# What map_fits does with a team, with nothing to fit. Each line that it prints is JSON.
WORKER = """
import json, sys, time
from bimmjax import InputError
from bimmjax.maps._processes import current_team, share, start_team

address, size, index, deed, doer = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4], sys.argv[5]
doer = int(doer)

def tell(**words):
    print(json.dumps(words), flush=True)

def work():
    if deed == "own jax":
        import jax
        jax.distributed.initialize(address, size, index)
    else:
        start_team(address, size, index, patience=20)
    for turn in range(2 if deed == "own jax" else 1):
        with current_team() as team:
            if deed == "refuse" and index == doer:
                raise InputError("volume: got no volume, wants one")
            if deed == "break" and index == doer:
                raise ZeroDivisionError("by nought")
            plan = team.meet("plan", list(range(10)) if team.leader else None)[0]
            mine = share(plan, team)
            tell(index=team.index, size=team.size, mine=mine)
            if deed == "leave" and index == doer:
                return
            if deed == "kill":
                for _ in range(600):  # batches
                    time.sleep(0.02)
                    team.check()
            counts = team.meet("table", len(mine))
            tell(counts=counts, all=team.report(len(mine)))
    if deed == "own jax":
        tell(devices=len(jax.local_devices()), of=len(jax.devices()))

try:
    work()
except InputError as error:
    print("bimmjax: error:", error, file=sys.stderr)
    sys.exit(2)
except ZeroDivisionError:
    sys.exit(1)
"""


class Crew:
    """The processes of one test, and what each said."""

    def __init__(self, folder: Path, size: int, deed: str = "", doer: int = -1) -> None:
        script = folder / "worker.py"
        script.write_text(WORKER)
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("SLURM", "OMPI", "PMI", "MPI", "JAX_", "XLA_", "BIMMJAX"))
        }
        environment["JAX_PLATFORMS"] = "cpu"
        self.address = f"127.0.0.1:{free_port()}"
        self.all = [
            subprocess.Popen(
                [sys.executable, script, self.address, str(size), str(i), deed, str(doer)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for i in range(size)
        ]

    def ends(self) -> list[tuple[int, list[dict], str]]:
        ends = []
        try:
            for process in self.all:
                out, errors = process.communicate(timeout=60)
                ends.append((process.returncode, [*map(json.loads, out.splitlines())], errors))
        finally:
            for process in self.all:
                process.kill()
        return ends


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_all_get_a_share_and_meet(tmp_path: Path):
    ends = Crew(tmp_path, 4).ends()
    assert [(code, errors) for code, _, errors in ends] == [(0, "")] * 4
    assert [lines[0]["index"] for _, lines, _ in ends] == [0, 1, 2, 3]
    assert {lines[0]["size"] for _, lines, _ in ends} == {4}
    assert [*chain(*(lines[0]["mine"] for _, lines, _ in ends))] == [*range(10)]
    assert all(lines[1]["counts"] == [2, 3, 2, 3] for _, lines, _ in ends)


@pytest.mark.parametrize(("size", "victim"), [(4, 2), (2, 0)])
def test_a_killed_process_is_named_by_the_others(tmp_path: Path, size: int, victim: int):
    crew = Crew(tmp_path, size, "kill")
    for process in crew.all:
        assert process.stdout is not None
        process.stdout.readline()  # at work
    crew.all[victim].send_signal(signal.SIGKILL)
    start = time.monotonic()
    ends = crew.ends()
    assert time.monotonic() - start < 5
    for index, (code, _, errors) in enumerate(ends):
        if index != victim:
            assert code == 2
            assert errors == (
                f"bimmjax: error: process {victim} of {size} died; what was done is kept, "
                "the same command goes on\n"
            )


@pytest.mark.parametrize(
    ("deed", "doer", "text"),
    [
        ("refuse", 0, "volume: got no volume, wants one"),
        ("refuse", 1, "volume: got no volume, wants one (said by process 1 of 3)"),
        ("break", 2, "process 2 of 3 failed, ZeroDivisionError: by nought; what was done is"),
        ("leave", 1, "process 1 of 3 left before 'table'; what was done is kept"),
    ],
)
def test_what_one_ends_with_ends_all(tmp_path: Path, deed: str, doer: int, text: str):
    ends = Crew(tmp_path, 3, deed, doer).ends()
    for index, (code, _, errors) in enumerate(ends):
        if index != doer:
            assert code == 2
            assert errors.startswith(f"bimmjax: error: {text}")
            assert errors.count("\n") == 1


def test_a_script_of_the_users_own(tmp_path: Path):
    ends = Crew(tmp_path, 2, "own jax").ends()
    for code, lines, errors in ends:
        assert code == 0, errors
        assert lines[1]["counts"] == lines[3]["counts"] == [5, 5]
        assert lines[4] == {"devices": 1, "of": 2}
    assert ends[0][1][0]["mine"] + ends[1][1][0]["mine"] == [*range(10)]


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No launcher, and a team of this process's own afterwards."""
    for key in os.environ:
        if key.startswith(("SLURM", "OMPI", "PMI", "MPI", "JAX_COORD", "JAX_LOCAL", "BIMMJAX")):
            monkeypatch.delenv(key)
    monkeypatch.setattr(_processes, "_started", None)
    return monkeypatch


def test_alone():
    with current_team() as team:
        assert (team.index, team.size, team.leader) == (0, 1, True)
        assert team.meet("plan", 3) == [3]
        assert team.report(5) == 5
        team.check()
        assert share([1, 2, 3], team) == [1, 2, 3]
        team.until(lambda: True, "never")
        with pytest.raises(InputError, match="out: got nothing"):
            team.until(lambda: False, "out: got nothing", timeout=0.05)


def test_shares_are_even():
    for size in (1, 2, 3, 7):
        team = Team()
        team.size = size
        shares = []
        for team.index in range(size):
            shares.append(share(range(24), team))
        assert [*chain(*shares)] == [*range(24)]
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((None, None, None), "distributed: found no Slurm, .* wants --coordinator HOST:PORT and"),
        (("host:1", 2, None), "wants --process I$"),
        (("host", 2, 0), "coordinator: got 'host', wants HOST:PORT"),
        (("host:99999", 2, 0), "coordinator: got 'host:99999', wants HOST:PORT"),
        (("host:1", 0, 0), "processes: got 0"),
        (("host:1", 2, 2), "process: got 2, wants a whole number from 0 to 1"),
    ],
)
def test_bad_input(nowhere: pytest.MonkeyPatch, given: tuple, text: str):
    with pytest.raises(InputError, match=text):
        start_team(*given)


def test_the_others_do_not_come(nowhere: pytest.MonkeyPatch):
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(InputError, match=r"got 1 of 3 within 0.2 s, .*missing: 1, 2"):
        start_team(address, 3, 0, patience=0.2)
    with pytest.raises(InputError, match=r"did not answer within 0\.2 s"):
        start_team(address, 3, 1, patience=0.2)


def test_the_port_is_taken(nowhere: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match="where process 0 cannot listen"):
            start_team(f"127.0.0.1:{port}", 2, 0)


def test_slurm_and_mpi_tell_who_is_who(nowhere: pytest.MonkeyPatch):
    slurm = {
        "SLURM_JOB_ID": "4097",
        "SLURM_STEP_NODELIST": "node[03-04]",
        "SLURM_NTASKS": "8",
        "SLURM_PROCID": "5",
        "SLURM_LOCALID": "1",
    }
    for key, value in slurm.items():
        nowhere.setenv(key, value)
    who = _processes._who_is_who(None, None, None, 1.0)
    assert (who.address, who.size, who.index, who.local) == ("node03:61441", 8, 5, [1])
    # Under mpirun within Slurm its own count holds.
    for key, value in {"SIZE": "4", "RANK": "3", "LOCAL_RANK": "0"}.items():
        nowhere.setenv(f"OMPI_COMM_WORLD_{key}", value)
    who = _processes._who_is_who(None, None, None, 1.0)
    assert (who.size, who.index, who.local) == (4, 3, [0])


def test_bad_seconds(nowhere: pytest.MonkeyPatch):
    nowhere.setenv("BIMMJAX_PATIENCE", "soon")
    with pytest.raises(InputError, match="BIMMJAX_PATIENCE: got 'soon', wants a number of sec"):
        start_team("127.0.0.1:1", 2, 0)
