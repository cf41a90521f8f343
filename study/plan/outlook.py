"""What the work to do will take and show: time, money, disk, and the smallest effect that the replicates can settle."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mia_core.errors import Refused
from mia_core.metrics.power import ALPHA, MOST, POWER, Spread, replicates_for, smallest_effect
from mia_core.metrics.two_way import MIN_REPLICATES, alpha_of_look
from study.design.study_design import Design
from study.design.work import Work
from study.plan import cost, disk, packing
from study.plan.capacity import Machines
from study.plan.cost import Estimate
from study.plan.memory import Memory
from study.plan.outdated import outdated
from study.plan.past import Past
from study.plan.spread import SEEN, WORTHWHILE, family, own_spread
from study.store import Store
from study.terminal import duration


@dataclass(frozen=True)
class Outlook:
    """Of some work of a study, on some machines. bytes: to be written, by folder; free: None where that has no bounds.

    spread: of differences of AUC between cells, by this study's own scores. damaged: why past rows could not be read.
    outdated: lines on sealed trials that count no more. contrasts: how many are declared.
    """

    design: Design
    estimate: Estimate
    bytes: Mapping[str, int]
    free: int | None
    spread: Spread | None
    damaged: str | None
    outdated: Sequence[str] = ()
    contrasts: int = 1
    memory: str = ""

    @classmethod
    def of(
        cls,
        design: Design,
        store: Store,
        todo: Mapping[str, Sequence[Work]],
        past: Past | None = None,
        machines: Machines | None = None,
    ) -> "Outlook":
        """By past rows of the store, which are read unless given. machines: this one alone, unless given."""
        past, compute, memory = past or Past.of(store), design.spec.compute, Memory.of(design)
        machines = machines or Machines.here(compute)
        auto = packing.planned(design, store) if machines.gpus and not machines.cluster else 1.0
        at_once, gpus = cost.slots(compute, max(1, machines.by_memory(memory)), machines.gpus, auto)
        shape, nodes = design.pool.image_shape, machines.names if machines.cluster else None
        timings = cost.timings(past, machines.device, shape, nodes)
        found = replace(cost.estimate(design, todo, timings, (at_once, gpus)), machines=len(machines.nodes))
        return cls(
            design,
            found,
            disk.needed(design, todo, past, at_once),
            disk.free(store.place),
            own_spread(design, store) if len(past.trials) else None,
            past.damaged,
            outdated(design, store),
            family(design, store),
            machines.line(memory, at_once),
        )

    def require(self, max_hours: float | None = None, max_usd: float | None = None, pilot: bool = False) -> None:
        """ValueError, in one line with the estimate, where work exceeds a limit or the disk.

        Limits need an estimate, except of a pilot, which makes one.
        """
        needed = sum(self.bytes.values())
        if self.free is not None and needed > self.free:
            raise Refused(
                f"results: about {_size(needed)} will be written, and {_size(self.free)} are free at "
                f"{self.design.spec.results}; free some, or see keep_targets"
            )
        least, usd = self.estimate.least, self.estimate.usd(self.design.spec.compute)
        about = "about" if self.estimate.wall is not None else "at least"
        if least is not None and max_hours is not None and least > max_hours * 3600:
            raise Refused(f"--max-hours {max_hours:g}: {about} {least / 3600:.2g} h are needed ({self._basis()})")
        if least is not None and max_usd is not None:
            if usd is None:
                raise Refused("--max-cost: nothing has a price; set compute.usd_per_hour or compute.usd_per_gpu_hour")
            if usd > max_usd:
                raise Refused(f"--max-cost {max_usd:g}: {about} {usd:.2g} USD are needed ({duration(least)})")
        if self.estimate.wall is None and not pilot and (max_hours is not None or max_usd is not None):
            raise Refused(f"a limit needs an estimate, and {self._unknown()}; --pilot times one trajectory")

    def lines(self) -> list[str]:
        """For a plan."""
        memory = [self.memory] if self.memory and self.estimate.works else []
        return [*self.outdated, *self._time(), *self._money(), *memory, *self._disk(), *self._power()]

    def _time(self) -> list[str]:
        damaged = [f"note: past rows cannot be read: {self.damaged}"] if self.damaged else []
        if not self.estimate.works:
            return [*damaged, "time: nothing to run"]
        if self.estimate.least is None:
            return [*damaged, f"time: not known: {self._unknown()}; --pilot times one trajectory"]
        if self.estimate.wall is None:
            more = f"and what was {self._unknown()}; --pilot times one trajectory"
            return [*damaged, f"time: at least {duration(self.estimate.least)} ({self._basis()}), {more}"]
        return [*damaged, f"time: about {duration(self.estimate.wall)} ({self._basis()})"]

    def _basis(self) -> str:
        seconds = self.estimate.seconds
        share = 100 * seconds.measured / seconds.total if seconds.total else 0
        work = f"{duration(seconds.total)} of work, {self.estimate.slots} at once"
        rows = f"{share:.0f} % by past rows of the same work, {100 - share:.0f} % scaled from others"
        return f"{work}, {duration(cost.START_SECONDS)} for Ray's start; {rows}; on {self.estimate.device}"

    def _unknown(self) -> str:
        unknown = self.estimate.seconds.unknown
        return (
            "nothing of this study was timed"
            if cost.TRAINING in unknown
            else f"never timed: {', '.join(sorted(unknown))}"
        )

    def _money(self) -> list[str]:
        usd = self.estimate.usd(self.design.spec.compute)
        if usd is None:
            return []
        price = cost.usd_per_hour(self.design.spec.compute, self.estimate.gpus, self.estimate.machines)
        hired = f", {self.estimate.machines} machines" if self.estimate.machines > 1 else ""
        hired += f", {self.estimate.gpus} GPUs" if self.estimate.gpus else ""
        about = "about" if self.estimate.wall is not None else "at least"
        return [f"cost: {about} {usd:.2g} USD ({price:g} an hour{hired})"]

    def _disk(self) -> list[str]:
        if not self.estimate.works:
            return []
        parts = sorted(self.bytes.items(), key=lambda part: -part[1])
        shown = ", ".join(f"{folder} {_size(size)}" for folder, size in parts[:3])
        left = "" if self.free is None else f"; {_size(self.free)} free"
        return [f"disk: about {_size(sum(self.bytes.values()))} to write ({shown}){left}"]

    def _power(self) -> list[str]:
        spec = self.design.spec
        if not spec.attacks or spec.release is not None:
            return []
        replicates, contrasts = spec.replicates, max(1, self.contrasts)
        spreads = [self.spread] if self.spread is not None else list(SEEN)
        holm = f" by Holm over {contrasts} declared contrast{'s' if contrasts > 1 else ''} at the first look"

        def each(number: Callable[[Spread, float], float | None], alone: str) -> str:
            words = [(ALPHA, alone), (alpha_of_look(1, ALPHA) / contrasts, holm)]
            return ", ".join(_range([number(spread, alpha) for spread in spreads]) + word for alpha, word in words)

        wanted = each(lambda spread, alpha: replicates_for(WORTHWHILE, spread, alpha), " replicates")
        if replicates < MIN_REPLICATES:
            few = "1 replicate settles" if replicates == 1 else f"{replicates} replicates settle"
            settled = f"{few} nothing, for fewer than {MIN_REPLICATES} are descriptive"
        else:
            found = each(lambda spread, alpha: smallest_effect(spread, replicates, alpha), " in one contrast")
            settled = f"{replicates} replicates settle a difference of AUC between two cells from {found}"
        return [
            f"power: {settled}; a difference of {WORTHWHILE:g} takes {wanted}",
            f"  ({100 * POWER:.0f} % power, {100 * ALPHA:.0f} % level; {self._spread(spreads)})",
        ]

    def _spread(self, spreads: Sequence[Spread]) -> str:
        """On what the power rests."""
        attack = self.design.spec.audit.attack
        sds = f"SD of a difference in one replicate {_range([spread.sd for spread in spreads])}"
        if self.spread is None:
            return f"{sds}, as seen in studies of DCGANs, for this one has none yet"
        records = self.spread.between_records**0.5
        return f"{sds}, between records {records:.2g}, which no replicate makes smaller: {attack}'s in this study"


def _range(values: Sequence[float | None]) -> str:
    """Numbers, or the lowest and the highest of them: of replicates, None is more than anybody would run; a difference
    of AUC past 0.5 is beyond what leaks.
    """
    words = [
        f"over {MOST}" if x is None else str(x) if isinstance(x, int) else f"{x:.2g}" if x <= 0.5 else "over 0.5"
        for x in values
    ]
    return " to ".join(dict.fromkeys(words))


def _size(size: float) -> str:
    """For people, in decimal units."""
    power = min(3, max(1, int(math.log10(max(size, 1)) // 3)))
    return f"{size / 10 ** (3 * power):.3g} {('kB', 'MB', 'GB')[power - 1]}"
