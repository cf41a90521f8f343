"""`python -m tests.left_behind.readers`: all that reads and copies the store results/small, in one process."""

import sys

from tests.commands import mia_study

STUDY = "results/small"
COMMANDS = {
    "report": [STUDY],
    "report --include-records": [STUDY],
    "tables": [STUDY],
    "figures": [STUDY, "figures"],
    "notebooks": [STUDY],
    "near-duplicates": ["study.yaml"],
    "status": [STUDY],
    "store check": [STUDY],
    "store export --public": [STUDY, "public"],
}

if __name__ == "__main__":
    codes = {command: mia_study(command)(words) for command, words in COMMANDS.items()}
    print(codes)
    sys.exit(any(codes.values()))
