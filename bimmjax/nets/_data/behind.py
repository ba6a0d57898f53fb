"""A thread that writes what is there while the next is worked out."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self


class Behind:
    """Does one thing after the other, each while its caller goes on; `name` is what they make.

    >>> done = []
    >>> with Behind("numbers") as behind:
    ...     for number in range(3):
    ...         behind.do(done.append, number)
    >>> done
    [0, 1, 2]
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._doing: Future[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for the last one; what went wrong then is raised, or a note of another error."""
        again = None
        while True:
            try:
                self._pool.shutdown()
                break
            except KeyboardInterrupt as one:
                # The thread would write on, beside that of the next run.
                again = one
        left = error or again
        if left is None:
            self.wait()
            return
        lost = None if self._doing is None else self._doing.exception()
        if lost is not None and lost is not left:
            reason = (str(lost) or type(lost).__name__).splitlines()[0][:200]
            left.add_note(f"the last of the {self._name} could not be written ({reason})")
        if error is None:
            raise left

    def wait(self) -> None:
        """Until the last one is done; what went wrong then is raised here."""
        if self._doing is not None:
            self._doing.result()
            self._doing = None

    def do(self, task: Callable[..., Any], *given: Any) -> None:
        """Begin the next one when the last one is done."""
        self.wait()
        self._doing = self._pool.submit(task, *given)
