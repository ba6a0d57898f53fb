"""How the command line has JAX compile."""

from __future__ import annotations

import os

# A third less time to compile a fit on CPUs, and the fit itself is as fast. XLA ends a process that
# gives it a flag it does not know: only versions that have been tried get it.
_SOONER = "--xla_cpu_use_fusion_emitters=false"
_TRIED = (0, 10)


def compile_sooner() -> None:
    """Spend less time on code that runs for a moment; to be called before JAX has any devices.

    What the user has told XLA about it is left as it is.
    """
    import jax

    flags = os.environ.get("XLA_FLAGS", "")
    if jax.__version_info__[:2] == _TRIED and "fusion_emitters" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_SOONER}".strip()
