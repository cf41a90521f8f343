"""Memory that work will take, by arithmetic on shapes: nothing of it is built. What fits nowhere is refused at once.

Counted is what has to be in memory at one time, so what is refused cannot run; what is close below may still not fit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

from mia_core.attacks.surrogate import SurrogateConfig
from mia_core.defenses import Arm
from mia_core.errors import Refused
from mia_core.metrics import blind, copies
from mia_core.metrics.quality import BLOCK_BYTES
from mia_core.settings import Choice
from mia_core.targets import TARGETS, Target
from study.design.control_trials import COPIES
from study.design.study_design import Design
from study.plan.shapes import activations, parameters
from study.spec.bounds import words
from study.spec.section_models import NEAR_MEMBERS

FLOAT, DOUBLE = 4, 8
PROCESS = 400 * 2**20
"""Of a worker that has imported torch, Ray and this project, and of the driver."""
RAY = 500 * 2**20
"""Ray's own processes on a machine, and room in its object store."""
TRIAL = 19_000
"""Of the driver, a trial of the design; docs/scale.md."""
COPIES_OF_STATE = 10
"""Of each parameter: itself, its gradient, two moments; and a checkpoint of these, as tensors and as bytes."""
COPIES_OF_ACTIVATIONS = 3
"""Of real and generated records, and what is kept for one of the backward passes."""
COPIES_OF_SAMPLES = 2
"""Chunks as they are generated, and all in one."""
RANKS = 25
"""Bytes of a label in a permutation: itself, its prediction, its rank, and what ranking takes."""
SQUARES = 3
"""Of kernel values in KID: within samples, within records, between both."""


@dataclass(frozen=True)
class Part:
    """bytes: at one time. what: in words, with the setting that makes it. way_out: what lowers it."""

    bytes: int
    what: str
    way_out: str


@dataclass(frozen=True)
class Memory:
    """Of a study. worker: parts of one process that runs trials; shared: what a machine holds once, the driver too."""

    worker: tuple[Part, ...]
    shared: tuple[Part, ...]

    @classmethod
    def of(cls, design: Design) -> "Memory":
        """What trials of a design take: the largest of each kind of part."""
        kinds = (_training(design), _attacks(design), _quality(design), _copied(design), _blind(design))
        # One after the other in a process, so the largest alone; queries stay while attacks run.
        largest = max((part for kind in kinds for part in kind), key=lambda part: part.bytes, default=None)
        return cls((*_queries(design), *([largest] if largest else [])), tuple(_shared(design)))

    @cached_property
    def worker_bytes(self) -> int:
        """Of one process."""
        return PROCESS + sum(part.bytes for part in self.worker)

    @cached_property
    def shared_bytes(self) -> int:
        """Of a machine, besides its processes that run trials."""
        return PROCESS + RAY + sum(part.bytes for part in self.shared)

    def at_once(self, memory: int) -> int:
        """Processes that fit on a machine of so many bytes; none where not one does."""
        return max(0, memory - self.shared_bytes) // self.worker_bytes

    def require(self, memory: int, where: str) -> None:
        """Refused, with the largest part and what lowers it, where not one process fits. where: e.g. `here`."""
        needed = self.shared_bytes + self.worker_bytes
        if needed <= memory:
            return
        parts = sorted((*self.worker, *self.shared), key=lambda part: -part.bytes)
        known = [f"{parts[0].what} {size(parts[0].bytes)}"] if parts and parts[0].bytes > PROCESS else []
        way_out = parts[0].way_out if known else "use a machine, or a container, with more"
        raise Refused(
            f"memory: one trial at a time takes {size(needed)}{''.join(f' ({part})' for part in known)}, and there are "
            f"{size(memory)} {where}; {way_out}"
        )


def size(count: int) -> str:
    """Bytes for people."""
    for unit, name in ((2**60, "EiB"), (2**50, "PiB"), (2**40, "TiB"), (2**30, "GiB")):
        if count >= unit:
            return f"{words(count // unit)} {name}" if count >= 10 * unit else f"{count / unit:.1f} {name}"
    return f"{count / 2**20:.0f} MiB"


def _pixels(design: Design) -> int:
    return prod(design.pool.image_shape)


def _queries(design: Design) -> Iterator[Part]:
    """Each process that attacks has all queries as float32."""
    count = len(design.membership(design.trials[0]).queries) if design.trials else 0
    way_out = "ask fewer (split), or lower data.size"
    yield Part(FLOAT * count * _pixels(design), f"{count} queries as float32", way_out)


def _training(design: Design) -> Iterator[Part]:
    for choice, arm, batch in {(cell.target, cell.arm, cell.training.batch_size) for cell in design.cells}:
        rows = batch * arm.rows_per_record
        yield _network(design, choice, arm, rows, f"training {choice.name}", "training.batch_size")


def _network(design: Design, choice: Choice[Target], arm: Arm, batch: int, what: str, key: str) -> Part:
    """A network in training: its parameters, and what a batch keeps for the backward pass."""
    state = COPIES_OF_STATE * FLOAT * parameters(choice, arm, design.pool.image_shape)
    each = COPIES_OF_ACTIVATIONS * FLOAT * activations(choice, arm, design.pool.image_shape)
    if each * batch > state:
        return Part(state + each * batch, f"{what} on batches of {words(batch)}", f"lower {key}")
    return Part(state + each * batch, f"{what} with {words(state // (COPIES_OF_STATE * FLOAT))} parameters",
                f"lower the width or the latent size of {choice.name}")  # fmt: skip


def _attacks(design: Design) -> Iterator[Part]:
    """Of attacks that run; one that is skipped may have no surrogate whose size could be known."""
    fitting = {attack.label for trial in design.trials for attack in trial.attacks if attack.skipped is None}
    for entry in (entry for entry in design.spec.attacks if not fitting.isdisjoint(entry.labels)):
        config, attack = entry.choice.config, entry.choice.build()
        yield _samples(design, attack.generated, f"attacks.{entry.label}.generated")
        if isinstance(config, SurrogateConfig):
            surrogate = TARGETS.choose(config.surrogate)
            what, key = f"the surrogate of {entry.label}", f"attacks.{entry.label}.batch_size"
            yield _network(design, surrogate, Arm(), config.batch_size, what, key)
    if design.spec.controls.copycat:
        most = max(design.spec.train_sizes)
        yield _samples(design, COPIES * most, f"the copycat of train_size {most}: {COPIES} copies a record,")


def _samples(design: Design, count: int, what: str) -> Part:
    needed = COPIES_OF_SAMPLES * FLOAT * count * _pixels(design)
    return Part(needed, f"{what} {words(count)} samples", "lower it")


def _quality(design: Design) -> Iterator[Part]:
    quality, count = design.spec.quality, design.spec.quality.samples
    if not design.measures.wanted:
        return
    squares = SQUARES * DOUBLE * min(count, design.measures.members if quality.against == ("members",) else count) ** 2
    features = 2 * DOUBLE * design.measures.dimensions[quality.space] * count
    needed = COPIES_OF_SAMPLES * FLOAT * count * _pixels(design) + features + BLOCK_BYTES
    yield Part(
        needed + (squares if "kid" in quality.measures else 0), f"quality.samples {words(count)}", "lower it"
    )  # fmt: skip
    extractor, channels = quality.extractor, design.pool.image_shape[0]
    weights = extractor.width * (9 * channels + 18 * extractor.width + 32 * extractor.features)
    weights += extractor.features * design.recipe.classes
    what = f"the feature network of width {words(extractor.width)} and {words(extractor.features)} features"
    yield Part(COPIES_OF_STATE * FLOAT * weights, what, "lower quality.extractor.width or features")
    batch = COPIES_OF_ACTIVATIONS * FLOAT * extractor.batch_size * _pixels(design) * extractor.width // 4
    yield Part(batch, f"quality.extractor.batch_size {words(extractor.batch_size)}", "lower it")


def _copied(design: Design) -> Iterator[Part]:
    """Members, unseen records and samples as points, some of them twice, and a block of distances and their ranks."""
    spec = design.spec
    near = (*copies.COPIES, *NEAR_MEMBERS)
    for extractor in {item.extractor for item in design.measures.wanted if item.name in near}:
        members = max(spec.train_sizes)
        points = members + len(design.split.unseen) + spec.quality.samples
        what = f"copies in {extractor} among {words(members)} members"
        needed = 2 * DOUBLE * points * design.measures.dimensions[extractor] + 3 * DOUBLE * copies.BLOCK_ELEMENTS
        yield Part(needed, what, f"leave {extractor} out of quality.copies.extractors")


def _blind(design: Design) -> Iterator[Part]:
    controls = design.spec.controls
    if controls.blind and design.trials:
        judged = min(2 * blind.LARGEST, len(design.membership(design.trials[0]).queries))
        yield Part(RANKS * judged * controls.permutations, f"controls.permutations {controls.permutations}", "lower it")


def _shared(design: Design) -> Iterator[Part]:
    images = design.pool.images
    what = f"{len(images)} records of {'x'.join(map(str, images.shape[1:]))}, in the driver and for its workers"
    yield Part(2 * images.nbytes, what, "lower data.size or data.fraction")
    yield Part(TRIAL * len(design.every), f"{len(design.every)} trials", "lower replicates, or give fewer levels")
