"""`python -m skiff` is `skiff`."""

import sys

from skiff.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
