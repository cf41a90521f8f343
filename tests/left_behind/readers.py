"""`python -m tests.left_behind.readers`: all that logs, reads and copies the store results/small, in one process."""

import sys

from study.outcomes import COMPLETE, REFUSED
from tests.commands import mia_study
from tests.left_behind.planted import RESULTS

STUDY = "results/small"
COMMANDS = {
    "track": [STUDY, "--tracking", "sqlite:///mlflow.db", "--include-records"],
    "report": [STUDY],
    "report --include-records": [STUDY],
    "tables": [STUDY],
    "figures": [STUDY, "figures"],
    "notebooks": [STUDY],
    "near-duplicates": ["study.yaml"],
    "status": [STUDY],
    "store check": [STUDY],
    "store export --public": [STUDY, "public"],
    "sweep": ["study.yaml", "--set", f"results={RESULTS}"],
}

if __name__ == "__main__":
    codes = {command: mia_study(command)(words) for command, words in COMMANDS.items()}
    print(codes)
    sys.exit(codes != dict.fromkeys(COMMANDS, COMPLETE) | {"sweep": REFUSED})
