"""How many trials share a GPU: from peaks that were measured on such GPUs, never by guess."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from mia_core.errors import Refused
from mia_core.hashing import canonical_json
from study.design.study_design import Design
from study.design.trials import Trial
from study.design.work import Work
from study.store import Damaged, Store, read

MARGIN = 1.25
"""Room over the largest peak: allocators leave gaps, and batches drawn by chance differ in size."""

GRAIN = 10_000
"""Ray counts ten-thousandths of a GPU."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as a trial finds it. total, overhead: bytes; overhead is what is taken before any tensor is."""

    name: str
    total: int
    overhead: int


@dataclass(frozen=True)
class Share:
    """gpus: of one GPU, by Ray's count. memory: fraction of it that a trial's tensors may take. why: in words."""

    gpus: float
    memory: float
    why: str


NONE = Share(0.0, 1.0, "torch sees none")

Peaks = Mapping[tuple[str, int], int]
"""Bytes by kind of trial and number of records."""


def measure() -> Gpu | None:
    """The GPU of this process, None where torch sees none. Its overhead is a context, and other people's processes."""
    if not torch.cuda.is_available():
        return None
    torch.zeros(1, device="cuda")
    free, total = torch.cuda.mem_get_info()
    return Gpu(torch.cuda.get_device_name(), total, total - free - torch.cuda.memory_reserved())


def together(gpu: Gpu, peak: int) -> int:
    """Trials that fit on a GPU when one takes `peak` bytes; one at least, for one was measured there."""
    return max(1, gpu.total // (gpu.overhead + math.ceil(MARGIN * peak)))


def share(count: int, gpus: Sequence[Gpu], why: str) -> Share:
    """The share of each of `count` trials on a GPU."""
    part = math.floor(GRAIN / count) / GRAIN
    return Share(part, memory(part, gpus), why)


def memory(part: float, gpus: Sequence[Gpu]) -> float:
    """Fraction of the memory of the fullest GPU that is left for tensors in a part of it; all of a whole one."""
    return 1.0 if part == 1 else max(1 / GRAIN, min((part - gpu.overhead / gpu.total for gpu in gpus), default=part))


def packed(gpus: Sequence[Gpu], peak: int) -> Share:
    """The share by the largest peak in bytes, on the GPU that holds the fewest trials."""
    fullest = min(gpus, key=lambda gpu: together(gpu, peak))
    count = together(fullest, peak)
    return share(count, gpus, f"{count} at once on each: one took up to {_gib(peak)} of {_size(fullest)}")


def fixed(part: float, gpus: Sequence[Gpu], peak: int) -> Share:
    """A share that the study names; ValueError when a trial was measured to take more than that."""
    for gpu in gpus:
        if part < 1 and peak and peak + gpu.overhead > part * gpu.total:
            raise Refused(
                f"compute.gpus_per_trial: {part:g} of {_size(gpu)} does not hold a trial, which took up to "
                f"{_gib(peak)} and {_gib(gpu.overhead)} beside; set auto, or {packed(gpus, peak).gpus:g}"
            )
    return Share(part, memory(part, gpus), "as compute.gpus_per_trial says")


def chosen(wanted: float | str, gpus: Sequence[Gpu], known: Peaks) -> Share:
    """The share for `auto` or for a number. gpus: those that torch sees, none where Ray alone counts some."""
    peak = max(known.values(), default=0)
    if not isinstance(wanted, str):
        return fixed(wanted, gpus, peak)
    if not gpus:
        return NONE
    return packed(gpus, peak) if peak else share(1, gpus, "nothing could be measured")


def larger(before: Share, gpus: Sequence[Gpu]) -> Share:
    """Twice as much, for trials that ran out of memory; a whole GPU at most."""
    part = min(1.0, 2 * before.gpus)
    return Share(part, memory(part, gpus), "trials ran out of memory on less")


def planned(design: Design, store: Store) -> float:
    """The share of a GPU that `auto` would choose on this machine by what is sealed, for a plan: no GPU is touched."""
    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    gpus = [Gpu(gpu.name, gpu.total_memory, 0) for gpu in found]
    return chosen("auto", gpus, peaks(design, store, gpus)).gpus


def kind(trial: Trial) -> str:
    """What a trial's memory depends on, besides how many records there are."""
    return canonical_json({**trial.cell.to_dict(), "train_size": None})


def peaks(design: Design, store: Store, gpus: Sequence[Gpu]) -> Peaks:
    """What the study's sealed trials took on GPUs of these names; none where a table is damaged."""
    found: dict[tuple[str, int], int] = {}
    try:
        rows = read(store.root, store.study, "trials")
    except Damaged:
        return found
    trials = {trial.trial_id: trial for trial in design.every if trial.steps}
    names = {gpu.name for gpu in gpus}
    for trial_id, device, peak in zip(rows["trial_id"], rows["device"], rows["peak_bytes"], strict=True):
        if device in names and trial_id in trials:
            key = (kind(trials[trial_id]), trials[trial_id].cell.train_size)
            found[key] = max(found.get(key, 0), int(peak))
    return found


def pilots(todo: Mapping[str, Sequence[Work]], known: Peaks) -> list[str]:
    """Trajectories to measure first: of each kind the one with most records, unless as many were measured before."""
    largest: dict[str, tuple[int, str]] = {}
    for name, works in todo.items():
        trial = works[-1].trial
        if trial.steps:
            largest[kind(trial)] = max(largest.get(kind(trial), (0, "")), (trial.cell.train_size, name))
    return [
        name
        for own, (records, name) in largest.items()
        if not any(other == own and count >= records for other, count in known)
    ]


def _size(gpu: Gpu) -> str:
    return f"the {_gib(gpu.total)} of {gpu.name}"


def _gib(count: int) -> str:
    return f"{count / 2**30:.3g} GiB"
