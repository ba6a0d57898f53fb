"""How the command line has JAX compile."""

from __future__ import annotations

import os
from importlib.metadata import version

# A quarter less time of a cold `bimmjax fit` on a CPU; fits themselves were as fast. XLA ends a
# process that gives it a flag it does not know: only versions that have been tried get it.
_SOONER = "--xla_cpu_use_fusion_emitters=false"
_TRIED = (0, 10)


def compile_sooner() -> None:
    """Spend less time on code that runs for a moment; to be called before JAX has any devices.

    What the user has told XLA about it is left as it is.
    """
    flags = os.environ.get("XLA_FLAGS", "").strip()
    # Without a dash it is the name of a file that holds the flags.
    ours = not flags or flags.startswith("-")
    if ours and "fusion_emitters" not in flags and _version() == _TRIED:
        os.environ["XLA_FLAGS"] = f"{flags} {_SOONER}".strip()


def _version() -> tuple[int, ...]:
    return tuple(int(part) for part in version("jaxlib").split(".")[:2])
