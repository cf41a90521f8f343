"""`python -m tests.left_behind.readers`: all that reads, copies and logs the store results/small, in one process."""

import sys

from study.cli.main import main
from study.outcomes import COMPLETE, REFUSED
from tests.commands import mia_study
from tests.left_behind.planted import RESULTS

STUDY = "results/small"
COMMANDS = {
    "report": [STUDY],
    "report --include-records": [STUDY],
    "tables": [STUDY],
    "figures": [STUDY, "figures"],
    "notebooks": [STUDY],
    "data": ["study.yaml"],
    "near-duplicates": ["study.yaml"],
    "status": [STUDY],
    "store check": [STUDY],
    "store export --public": [STUDY, "public"],
    "sweep": ["study.yaml", "--set", f"results={RESULTS}"],
}
TRACK = ["track", STUDY, "--tracking", "sqlite:///mlflow.db", "--include-records"]
"""MLflow makes folders as the umask says, which a process of `mia-study` sets; readers need none."""

if __name__ == "__main__":
    codes = {command: mia_study(command)(words) for command, words in COMMANDS.items()}
    codes["track"] = main(TRACK, process=True)
    print(codes)
    sys.exit(codes != dict.fromkeys(codes, COMPLETE) | {"sweep": REFUSED})
