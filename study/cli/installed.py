"""The command that lists what installed packages offer to studies; it imports nothing of them."""

import argparse
from collections.abc import Iterator

from study.cli.command import RUN, Command
from study.outcomes import COMPLETE


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    return


def _packages(options: argparse.Namespace) -> int:
    from study.terminal import say

    say(*(list(_lines()) or ["no installed package offers an attack, a target, a defense or a data set"]))
    return COMPLETE


def _lines() -> Iterator[str]:
    from mia_core import offers
    from mia_core.attacks import ATTACKS
    from mia_core.data import SOURCES
    from mia_core.defenses import DEFENSES
    from mia_core.errors import Refused
    from mia_core.targets import TARGETS

    known = {registry.group: registry for registry in (TARGETS, DEFENSES, ATTACKS, SOURCES) if registry.group}
    for group, registry in known.items():
        for name, found in offers.points(group).items():
            try:
                words = " and ".join(f"{offers.package_of(point)} ({point.value})" for point in found)
            except Refused as error:
                words = str(error)
            if registry.find(name):
                words += "; not used, since the name is this project's"
            elif len(found) > 1:
                words += "; refused, since the name is offered twice"
            yield f"{registry.kind} {name}: {words}"
    for group in offers.unknown_groups({*known, "commands"}):
        yield f"{offers.PREFIX}{group}: no such group; there is {', '.join(sorted(known))}"


COMMANDS = (
    Command(
        name="packages",
        group=RUN,
        summary="list what installed packages offer to studies",
        add_arguments=_no_arguments,
        run=_packages,
        details="A package offers a class by an entry point, in one of the groups mia_study.attacks, "
        "mia_study.targets, mia_study.defenses and mia_study.data_sets. docs/tutorials/write_an_attack.md has a whole "
        "package. Nothing of a package is imported before a study file names its class.",
        examples=("packages",),
        prints=True,
    ),
)
