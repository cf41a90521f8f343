"""`python -m study.sweep ...` is `mia-study sweep ...`."""

import sys

from study.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["sweep", *sys.argv[1:]], process=True))
