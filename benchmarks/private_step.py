"""`python -m benchmarks.private_step`: what DP-SGD costs in time and memory, beside opacus and torch.func.

The step is that of a DCGAN's discriminator at 28x28x1 with group norm: real half privatized, fake half plain, fused
Adam; the fakes are ready-made. All variants go through the target's step and differ in the rule for the real half only:
`plain` has no privacy, `ours` is DPSGD's, the others are in `private_rules`. Before a cell is timed, the private ones
must leave the same gradient without noise, from records of which about half are clipped; otherwise ValueError.

Time: one process, one thread, all variants in each round in random order; a ratio is taken within a round. Memory: the
peak of a step above what stood before it (weights, optimizer's state, records, libraries), each in a process of its
own (see `measuring`). Both after a step on two records. The last part is the whole step of a VAE-GAN, whose three
networks learn from real records through each other: opacus wraps one network with one loss and cannot do it.

Exit code 1: ours is slower than another private variant in about 90 % of the rounds, or takes more than 1.5 times
plain's memory in a discriminator's step on 64 records or more, or memory cannot be measured. The whole grid took 8
minutes on one busy core.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import softplus

from benchmarks.measuring import in_fresh_process, interleaved, peak_megabytes, spread, table
from benchmarks.private_rules import COMPETITORS, NETWORK, Privacy
from mia_core.batches import Rows
from mia_core.defenses import DPSGD, TrainingFacts
from mia_core.learner import OneTraining
from mia_core.secret_draws import SecretDraws
from mia_core.step_draws import Draws
from mia_core.streams import Streams
from mia_core.targets import TARGETS, Adversarial, Batch, RecordGradients, mean_gradients

SHAPE = (1, 28, 28)
VARIANTS = ("plain", "ours", *COMPETITORS)
MEMORY_BOUND = 1.5
BOUND_FROM_BATCH = 64
WHOLE_BATCH = 64
TOLERANCE = 1e-3
"""Of two gradients' difference, relative to the norm of one; in single precision, in which ours clips by a bound of the
norm that is up to a thousandth above it."""


@dataclass(frozen=True)
class Cell:
    """target: `dcgan`, its discriminator's step alone, or `vae_gan`, the whole step."""

    target: str
    width: int
    batch: int
    device: str


def gradient_norms(target: Adversarial, x_BCHW: torch.Tensor) -> torch.Tensor:
    """The norm of each record's gradient of -log D over the discriminator, [B], one record at a time."""
    weights = list(target.get_submodule(NETWORK).parameters())
    losses = (softplus(-target.discriminate(record)).sum() for record in x_BCHW.split(1))
    gradients = (torch.autograd.grad(loss, weights) for loss in losses)
    return torch.stack([torch.cat([part.flatten() for part in parts]).norm() for parts in gradients])


class Stepper:
    """A target that repeats one training step on the same records; a cell's variants differ in the rule alone.

    The learning rate is 0: the optimizer does all its work, and the next step finds the same weights.
    """

    def __init__(self, cell: Cell, variant: str, sigma: float = 1.0) -> None:
        """sigma: the noise multiplier of private variants."""
        self.cell = cell
        self.whole = cell.target == "vae_gan"
        self.streams = Streams("private_step", cell.width, cell.batch)
        target = TARGETS.choose({"name": cell.target, "width": cell.width}).build(SHAPE)
        assert isinstance(target, Adversarial)
        self.target = target
        self.target.initialize(self.streams)
        self.target.to(cell.device).train()
        self.optimizers = self.target.optimizers(0.0, 0.5)
        random = self.streams.torch("records")
        contrasts = torch.rand(cell.batch, 1, 1, 1, generator=random)
        self.real = (contrasts * (torch.rand(cell.batch, *SHAPE, generator=random) * 2 - 1)).to(cell.device)
        self.fake = (torch.rand(cell.batch, *SHAPE, generator=random) * 2 - 1).to(cell.device)
        clip = float(gradient_norms(self.target, self.real[:16]).median())
        networks = {name: self.target.get_submodule(name) for name in self.target.networks}
        rule = self._rule(variant, Privacy(sigma, clip, cell.batch))
        self.learner = OneTraining(self.target, networks, self.optimizers, rule)
        draws = Draws(self.streams, cell.device)
        wanted = self.target.draws(cell.batch, *((cell.batch, 0) if self.whole else (0, cell.batch)))
        self.drawn = {name: draws(name, 0, draw) for name, draw in wanted.items()}

    def _rule(self, variant: str, privacy: Privacy) -> RecordGradients:
        if variant == "plain":
            return mean_gradients
        if variant == "ours":
            config = DPSGD.Config(sigma=privacy.sigma, clip=privacy.clip, delta=1e-5)
            batch = privacy.expected_batch
            facts = TrainingFacts(batch, batch, batch, self.streams, SecretDraws())
            return DPSGD(config).gradients(mean_gradients, facts)
        return COMPETITORS[variant](self.target.get_submodule(NETWORK), self.optimizers[NETWORK], privacy)

    def __call__(self, records: int | None = None) -> None:
        """One step, on the first `records` alone if a number is given."""
        real, fake = self.real[:records], self.fake[:records]
        batch = Batch(
            real=real,
            rows=Rows(torch.arange(len(real))),
            draws={name: drawn[:records] for name, drawn in self.drawn.items()},
            fakes=len(fake) if self.whole else 0,
            generator_learns=self.whole,
            contrast=None if self.whole else fake,
        )
        self.learner.step(batch)

    def forget(self) -> None:
        """Free what a step left at the parameters: the gradient, opacus's gradients by record and their sum."""
        for parameter in self.target.parameters():
            for name in ("grad", "grad_sample", "summed_grad"):
                setattr(parameter, name, None)

    def gradient(self) -> torch.Tensor:
        """What the last step left in the discriminator's `.grad`, flat."""
        gradients = [p.grad for p in self.target.get_submodule(NETWORK).parameters() if p.grad is not None]
        return torch.cat([gradient.flatten() for gradient in gradients])


def check_agreement(cell: Cell) -> None:
    """ValueError unless all private variants leave the same gradient without noise, after another step at that."""
    found = {}
    for variant in VARIANTS[1:]:
        stepper = Stepper(cell, variant, sigma=0.0)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            stepper(2)
            stepper()
        found[variant] = stepper.gradient()
    reference = found.pop("torch.func")
    for variant, gradient in found.items():
        difference = float((gradient - reference).norm() / reference.norm())
        if not difference <= TOLERANCE:
            raise ValueError(
                f"{_name(cell)}: the gradients of {variant} and torch.func differ by {difference:.1e} of their norm: "
                "not the same step, so nothing is timed"
            )


def times(cell: Cell, variants: Sequence[str], options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Seconds [rounds] of each variant's steps."""
    steppers = {variant: Stepper(cell, variant) for variant in variants}
    for stepper in steppers.values():
        stepper(2)
    return interleaved(steppers, options.repeats, options.seconds, cell.device)


def peak(cell: Cell, variant: str) -> float | None:
    """Peak memory of one step in MB; for a fresh process."""
    torch.set_num_threads(1)
    _quiet()
    stepper = Stepper(cell, variant)
    stepper(2)
    stepper.forget()
    return peak_megabytes(stepper, cell.device)


def peaks(cell: Cell, variants: Sequence[str]) -> dict[str, float | None]:
    """Peak memory in MB of each variant's step."""
    preload = ["benchmarks.private_rules"]
    return {variant: in_fresh_process(peak, cell, variant, preload=preload) for variant in variants}


def time_row(cell: Cell, options: argparse.Namespace, failures: list[str]) -> list[str]:
    """A row of the first table; adds to `failures` whoever is faster than ours."""
    check_agreement(cell)
    found = times(cell, VARIANTS, options)
    ours = {variant: found["ours"] / found[variant] for variant in COMPETITORS}
    for variant, ratios in ours.items():
        if np.quantile(ratios, 0.1) > 1:
            failures.append(f"{_name(cell)}: ours takes {spread(ratios)} times as long as {variant}")
    fastest = max(ours, key=lambda variant: float(np.median(ours[variant])))
    ratios_to_plain = [spread(found[variant] / found["plain"]) for variant in VARIANTS[1:]]
    return [*_head(cell), str(len(found["plain"])), *ratios_to_plain, f"{spread(ours[fastest])} of {fastest}"]


def memory_row(cell: Cell, failures: list[str]) -> list[str]:
    """A row of the second table; adds to `failures` if ours is above the bound."""
    found = peaks(cell, VARIANTS)
    ours, plain = found["ours"], found["plain"]
    if ours is None or plain is None:
        failures.append(f"{_name(cell)}: memory is not measured, for lack of a /proc/self/clear_refs to write to")
    elif ours > MEMORY_BOUND * plain and cell.batch >= BOUND_FROM_BATCH:
        failures.append(f"{_name(cell)}: ours takes {ours / plain:.2f} times plain's memory")
    return [*_head(cell), *(_megabytes(value, plain) for value in found.values())]


def whole_row(cell: Cell, options: argparse.Namespace) -> list[str]:
    """A row of the third table."""
    variants = ("plain", "ours")
    seconds, megabytes = times(cell, variants, options), peaks(cell, variants)
    words = [_megabytes(megabytes[variant], megabytes["plain"]) for variant in variants]
    return [*_head(cell), str(len(seconds["plain"])), spread(seconds["ours"] / seconds["plain"]), *words]


def _name(cell: Cell) -> str:
    return f"width {cell.width}, batch {cell.batch}"


def _head(cell: Cell) -> list[str]:
    return [str(cell.width), str(cell.batch)]


def _megabytes(value: float | None, plain: float | None) -> str:
    return f"{value:.1f} MB ({value / plain:.2f})" if value and plain else "not measured"


def _quiet() -> None:
    """opacus's hooks on a first layer, whose images need no gradient, are as they should be."""
    warnings.filterwarnings("ignore", message="Full backward hook")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.private_step", description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128, 256, 512])
    parser.add_argument("--repeats", type=int, default=100, help="rounds of a cell, at most; 1 shows no spread")
    parser.add_argument("--seconds", type=float, default=20, help="of a cell, after which no fourth round begins")
    parser.add_argument("--quick", action="store_true", help="a batch of 64 alone, 3 rounds")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--report-only", action="store_true", help="exit code 0 whatever was measured")
    options = parser.parse_args(arguments)
    if options.quick:
        options.batches, options.repeats = [64], 3
    torch.set_num_threads(1)
    _quiet()
    cells = [Cell("dcgan", width, batch, options.device) for width in options.widths for batch in options.batches]
    whole = [Cell("vae_gan", width, WHOLE_BATCH, options.device) for width in options.widths]
    failures: list[str] = []
    table(
        "A discriminator's step: time over plain's, median (10-90 % range of the rounds)",
        ["width", "batch", "rounds", *VARIANTS[1:], "ours over the fastest other"],
        (time_row(cell, options, failures) for cell in cells),
    )
    table(
        "A discriminator's step: peak memory above what stood before (over plain's)",
        ["width", "batch", *VARIANTS],
        (memory_row(cell, failures) for cell in cells),
    )
    table(
        "A VAE-GAN's whole step, which opacus cannot do: time over plain's, peak memory (over plain's)",
        ["width", "batch", "rounds", "ours, time", "plain, memory", "ours, memory"],
        (whole_row(cell, options) for cell in whole),
    )
    print("\n" + ("\n".join(failures) or "ours is nowhere slower beyond the spread, and within the memory bound"))
    return 1 if failures and not options.report_only else 0


if __name__ == "__main__":
    sys.exit(main())
