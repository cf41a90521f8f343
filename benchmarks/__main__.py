"""`python -m benchmarks [NAME [ARGUMENTS]]`: runs a benchmark, or lists them."""

import sys
from collections.abc import Sequence
from importlib import import_module

BENCHMARKS = {
    "bookkeeping": "what planning, resuming and reading a study of 10,000 trials cost",
    "second_stage": "how long a study of 10,000 trials takes to derive attacks from its sealed scores",
    "settle": "core-hours that a finished study's statistics save to settle an effect, with their interval",
    "orchestration": "what a trial costs beside its work, beside plain Ray Tune",
    "pool_memory": "what a large pool costs each worker in memory",
    "scale": "a large study on a large cluster, simulated from what a trial costs",
    "private_step": "what DP-SGD costs in time and memory, beside opacus and torch.func",
    "clip": "what of a record passes a clip where its gradient's terms cancel, by a plain rule and by ours",
    "gpu": "what a GPU computes and how fast: eager, as a graph, many trainings at once; exits with 2 without one",
    "distances": "all distance attacks of a trial at all numbers of samples, beside a scikit-learn search for each",
    "released_samples": "a release of 5,000 samples against 1,000 members and 1,000 others, from folders to its page",
    "whole_study": "one study by scripts, by a Tune grid, by a sweep: trials per core-hour, same results",
}


def main(arguments: Sequence[str]) -> int:
    """The exit code of the benchmark."""
    if not arguments:
        print("\n".join(f"python -m benchmarks {name:17}{words}" for name, words in BENCHMARKS.items()))
        return 0
    name, *rest = arguments
    if name not in BENCHMARKS:
        print(f"refused: no benchmark is called {name!r}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    return int(import_module(f"benchmarks.{name}").main(rest))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
