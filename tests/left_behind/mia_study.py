"""`python -m tests.left_behind.mia_study ...`: the command, of this working tree."""

import sys

from study.cli.main import script

if __name__ == "__main__":
    sys.exit(script())
