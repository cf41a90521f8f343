"""`python -m analysis.report ...` is `mia-study report ...`."""

import sys

from study.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]], process=True))
