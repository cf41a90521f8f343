"""`python -m analysis.report ...` is `mia-study report ...`."""

import sys

from study.search_path import leave_working_folder

if __name__ == "__main__":
    leave_working_folder()
    from study.cli.main import main

    sys.exit(main(["report", *sys.argv[1:]], process=True))
