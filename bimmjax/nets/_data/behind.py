"""A thread that writes what is there while the next is worked out."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self


class Behind:
    """Does one thing after the other, each while its caller goes on; `name` is what they make.

    Examples
    --------
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
        lost = again = None
        while True:
            try:
                # Not the pool: its threads count as ended once waiting for them was interrupted.
                if self._doing is not None:
                    lost = self._doing.exception()
                break
            except KeyboardInterrupt as one:
                # It would be done beside what the next run does.
                again = one
        self._pool.shutdown(wait=False)
        left = error or again or lost
        if left is not None and lost is not None and lost is not left:
            reason = (str(lost) or type(lost).__name__).splitlines()[0][:200]
            left.add_note(f"the last of the {self._name} could not be written ({reason})")
        if error is None and left is not None:
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
