"""`python -m bimmjax` is `bimmjax`."""

import sys

from bimmjax.cli import main

if __name__ == "__main__":
    sys.exit(main())
