"""`python -m lara_core ...`: the command line of cli.py."""

import sys

from .cli import run

if __name__ == "__main__":
    sys.exit(run())
