"""`python -m analysis.figures ROOT/STUDY OUT`: write a study's pictures as PNG files."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from analysis import plots
from analysis.study_data import load
from study.store import Damaged
from study.store.places import WHERE


def main(arguments: Sequence[str] | None = None) -> int:
    """Leakage over epochs, leakage against quality, leakage and quality against epsilon, attacks compared."""
    parser = argparse.ArgumentParser(prog="python -m analysis.figures", description=__doc__)
    parser.add_argument("folder", help=WHERE)
    parser.add_argument("out", type=Path, help="where to put the pictures")
    parser.add_argument("--attack", help="the attack to show (default: the study's first)")
    options = parser.parse_args(arguments)
    matplotlib.use("Agg")
    try:
        data = load(options.folder)
        attack = options.attack or data.attacks[0]
        figures = {
            "leakage_over_epochs": plots.leakage_over_epochs(data, attack),
            "attacks_compared": plots.attacks_compared(data),
        }
        if data.quality:
            figures["leakage_against_quality"] = plots.leakage_against_quality(data, attack, data.quality)
        if data.private:
            figures["against_epsilon"] = plots.against_epsilon(data, attack)
    except (ValueError, Damaged) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        path = options.out / f"{name}.png"
        figure.savefig(path, dpi=110, metadata={"Software": None})
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
