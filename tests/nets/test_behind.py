"""The thread that writes behind: what it lost is told, and nobody leaves before it."""

from __future__ import annotations

import os
import signal
import time

import pytest

from bimmjax.nets._data.behind import Behind


def fails():
    raise OSError("No space\nleft")


def test_the_next_waits_for_the_last_and_raises_what_went_wrong():
    done = []
    with Behind("things") as behind:
        behind.do(lambda: time.sleep(0.05) or done.append(1))
        behind.do(fails)
        assert done == [1]
        with pytest.raises(OSError, match="No space"):
            behind.wait()
        with pytest.raises(OSError, match="No space"):
            behind.do(done.append, 2)
        behind._doing = None
    with pytest.raises(OSError, match="No space") as told, Behind("things") as behind:
        behind.do(fails)
    assert not hasattr(told.value, "__notes__")


def test_another_error_tells_what_was_lost():
    def work():
        with Behind("things") as behind:
            behind.do(fails)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as told:
        work()
    assert told.value.__notes__ == ["the last of the things could not be written (No space)"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("first", [True, False])
def test_ctrl_c_while_leaving_does_not_leave_the_thread_behind(first):
    done, came = [], []

    def heed(*_):
        came.append(1)
        raise KeyboardInterrupt

    def twice():
        for number in range(2):
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)
            while len(came) == number:
                time.sleep(0.01)
        time.sleep(0.05)
        done.append(1)

    def work():
        with Behind("things") as behind:
            behind.do(twice)
            if not first:
                raise KeyboardInterrupt

    usual = signal.signal(signal.SIGINT, heed)
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGINT, usual)
    assert done == [1]
