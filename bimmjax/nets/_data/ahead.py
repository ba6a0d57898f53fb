"""A thread that reads what comes next while the network learns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def made_ahead(
    make: Callable[[int], T], numbers: Iterable[int], ahead: int = 2
) -> Generator[T, None, None]:
    """`make(n)` of each number in turn, made by a thread, up to `ahead` before they are taken.

    Its exceptions surface at the number they belong to. Closing the generator ends the thread.

    Examples
    --------
    >>> list(made_ahead(lambda n: n * n, range(4)))
    [0, 1, 4, 9]
    """
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="patches") as pool:
        try:
            for number in numbers:
                waiting.append(pool.submit(make, number))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
