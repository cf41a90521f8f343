"""Where trials run, as far as plans go: this machine, or the nodes of a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mia_core import hardware
from study.machine import device_name, slots
from study.plan.memory import Memory, size
from study.spec.section_models import ComputeSpec

CPU = "cpu"


@dataclass(frozen=True)
class Machine:
    """One machine. memory: bytes, None if unknown. name: as rows of trials have it, None if it varies."""

    cpus: int
    gpus: int = 0
    memory: int | None = None
    name: str | None = None


@dataclass(frozen=True)
class Machines:
    """nodes: all that are paid for. where: in words. device: of rows that time this, None for a GPU of unknown name.

    cluster: whether rows of other machines say nothing of these.
    """

    nodes: Sequence[Machine]
    where: str
    device: str | None
    cluster: bool = False

    @classmethod
    def here(cls, compute: ComputeSpec) -> "Machines":
        """This machine alone, with a container's limits."""
        cuda = torch.cuda.is_available() and compute.gpus_per_trial != 0
        gpus = torch.cuda.device_count() if cuda else 0
        return cls((Machine(slots(), gpus, hardware.memory_bytes()),), "here", device_name("cuda" if cuda else CPU))

    @property
    def cpus(self) -> int:
        """Of all nodes."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> int:
        """Of all nodes."""
        return sum(node.gpus for node in self.nodes)

    @property
    def names(self) -> frozenset[str]:
        """Of nodes."""
        return frozenset(node.name for node in self.nodes if node.name)

    def by_memory(self, memory: Memory) -> int:
        """Trials at once that the memory of all nodes holds, by their processors at most."""
        return sum(
            node.cpus if node.memory is None else min(node.cpus, memory.at_once(node.memory)) for node in self.nodes
        )

    def require(self, memory: Memory) -> None:
        """Refused where no node holds a single trial."""
        workers = [node.memory for node in self.nodes if node.cpus]
        known = [bytes_ for bytes_ in workers if bytes_ is not None]
        if known and len(known) == len(workers):
            memory.require(max(known), self.where)

    def line(self, memory: Memory, at_once: int) -> str:
        """For a plan: what a trial takes, and whether that keeps processors idle."""
        there = sum(node.memory or 0 for node in self.nodes)
        idle = f", of {self.cpus} that processors would run" if at_once < self.cpus and self._short(memory) else ""
        of = f" of {size(there)} {self.where}" if there else ""
        return (
            f"memory: about {size(memory.worker_bytes)} a trial and {size(memory.shared_bytes)} besides{of}; "
            f"{at_once} trials at once{idle}"
        )

    def _short(self, memory: Memory) -> bool:
        return self.by_memory(memory) < self.cpus
