"""`python -m study.sweep ...` is `mia-study sweep ...`."""

import sys

from study.search_path import leave_working_folder

if __name__ == "__main__":
    leave_working_folder()
    from study.cli.main import main

    sys.exit(main(["sweep", *sys.argv[1:]], process=True))
