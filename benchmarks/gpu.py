"""`python -m benchmarks gpu`: what a GPU computes, and how fast: eager, as a CUDA graph, several trainings at once.

Needs mia_core's packages alone, and takes at most eight minutes; without a GPU it says so and exits with 2.
`--rehearse` runs all but graphs and memory on the CPU, in small, to try it: none of its figures is one of a GPU.

Three tables, each row as soon as it is measured:

- equality: losses and weights after 20 steps on the GPU beside those on the CPU, relative to their size (largest
  difference over weights). Draws are the CPU's on every device, so what differs is rounding.
- time: milliseconds a step and training, eager, captured as one CUDA graph, and 1, 4, 16, 64 trainings at once
  (`mia_core.together`), with the ratio to eager; DP-SGD eager.
- memory: the most that was allocated.

Exit code 1: something differs by more than its bound, or a cell failed.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.measuring import table
from mia_core.defenses import Arm
from mia_core.streams import Streams
from mia_core.targets import TARGETS, Batch
from mia_core.together import Together, stacked
from mia_core.training import Trainer, TrainingConfig
from mia_core.training_records import Records

TARGETS_TIMED = ("dcgan", "wgan_gp", "began", "vae_gan")
PRIVATE = {"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-5}
ARMS = {"none": "none", "dp_sgd": PRIVATE, "dropout": "dropout"}
AT_ONCE = (1, 4, 16, 64)
EQUAL_STEPS = 20
BOUND = 1e-3
"""Of a weight's difference, relative to the largest weight of its tensor. Adam divides a gradient by its size, so that
rounding of a small one shows in full."""

SECONDS = 480


@dataclass(frozen=True)
class Setting:
    """device: where; size: pixels; width: channels; batch: records a step; seconds: of measuring a cell."""

    device: str
    size: int = 32
    width: int = 32
    batch: int = 64
    seconds: float = 2.0

    def trainer(self, target: str, arm: str = "none", seed: int = 0, device: str | None = None) -> Trainer:
        """A training at step 0."""
        shape = (1, self.size, self.size)
        count = 10 * self.batch
        images = np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)
        return Trainer(
            TARGETS.choose({"name": target, "width": self.width}).build(shape),
            Records(images, count),
            TrainingConfig(batch_size=self.batch),
            Arm.parse(ARMS[arm]),
            Streams("benchmark", seed),
            key=bytes(32),
            device=device or self.device,
        )


def equality_rows(setting: Setting, failures: list[str]) -> Iterable[list[str]]:
    """A row a target and arm."""
    for target in TARGETS_TIMED:
        for arm in ARMS:
            try:
                there, here = (setting.trainer(target, arm, device=device) for device in (setting.device, "cpu"))
            except ValueError as refused:
                yield [target, arm, "-", "-", str(refused)[:60]]
                continue
            for trainer in (there, here):
                trainer.run_to(EQUAL_STEPS)
            weights = largest_difference(there.target.state_dict(), here.target.state_dict())
            losses = max(abs(there.history[-1].means[k] - mean) for k, mean in here.history[-1].means.items())
            if not weights <= BOUND:
                failures.append(f"{target} {arm}: weights differ by {weights:.1e} of their size")
            yield [target, arm, f"{weights:.1e}", f"{losses:.1e}", "" if weights <= BOUND else "beyond the bound"]


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Over tensors, relative to the largest number of each; NaN if any is."""
    worst = 0.0
    for name, value in b.items():
        found, wanted = a[name].double().cpu(), value.double().cpu()
        worst = max(worst, float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-3)))
    return worst


def seconds_a_call(function: Callable[[], object], setting: Setting, calls: int = 5) -> float:
    """Median over rounds of several calls each, after as many to warm up."""
    _wait(setting)
    for _ in range(calls):
        function()
    _wait(setting)
    found: list[float] = []
    begun = time.perf_counter()
    while len(found) < 3 or time.perf_counter() - begun < setting.seconds:
        started = time.perf_counter()
        for _ in range(calls):
            function()
        _wait(setting)
        found.append((time.perf_counter() - started) / calls)
    return float(np.median(found))


def _wait(setting: Setting) -> None:
    if setting.device != "cpu":
        torch.cuda.synchronize()


def eager(setting: Setting, target: str, arm: str) -> float:
    """Seconds a step, as trials train: draws, batches and history included."""
    trainer = setting.trainer(target, arm)

    def step() -> None:
        trainer.run_to(trainer.step + 1)

    return seconds_a_call(step, setting)


def graph(setting: Setting, target: str) -> float:
    """Seconds a step that is replayed as one CUDA graph, its batch copied in before."""
    trainer = setting.trainer(target)
    trainer.target.train()
    static = trainer.batch()
    for optimizer in trainer.optimizers.values():
        for group in optimizer.param_groups:
            group["capturable"] = True
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            trainer.learner.step(static)
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        values = trainer.learner.step(static)

    def step() -> None:
        copy_batch(trainer.batch(), static)
        captured.replay()
        trainer.count({name: value.clone() for name, value in values.items()}, time.perf_counter())

    return seconds_a_call(step, setting)


def copy_batch(batch: Batch, into: Batch) -> None:
    """Records and draws of a step, in the memory of another."""
    into.real.copy_(batch.real)
    for name, value in batch.draws.items():
        into.draws[name].copy_(value)


def at_once(setting: Setting, target: str, count: int) -> float:
    """Seconds a step and training, of so many at once."""
    trainers = [setting.trainer(target, seed=seed) for seed in range(count)]
    for trainer in trainers:
        trainer.target.train()
    learner = Together(trainers)

    def step() -> None:
        learner.step(stacked([trainer.batch() for trainer in trainers]))
        for trainer in trainers:
            trainer.count({}, time.perf_counter())

    return seconds_a_call(step, setting, calls=2) / count


def time_rows(setting: Setting, failures: list[str], deadline: float) -> Iterable[list[str]]:
    """A row a target and way."""
    for target in TARGETS_TIMED:
        base = eager(setting, target, "none")
        ways: dict[str, Callable[[], float]] = {}
        if setting.device != "cpu":
            ways["graph"] = lambda target=target: graph(setting, target)  # type: ignore[misc]
        for count in AT_ONCE:
            ways[f"{count} at once"] = lambda target=target, count=count: at_once(setting, target, count)  # type: ignore[misc]
        ways["dp_sgd"] = lambda target=target: eager(setting, target, "dp_sgd")  # type: ignore[misc]
        yield [target, "eager", f"{1e3 * base:.2f}", "1", _megabytes(setting)]
        for way, measure in ways.items():
            if time.perf_counter() > deadline:
                yield [target, way, "-", "-", "left out: the time is over"]
                continue
            try:
                found = measure()
            except ValueError as refused:
                yield [target, way, "-", "-", str(refused)[:60]]
                continue
            except (RuntimeError, AssertionError) as error:
                failures.append(f"{target} {way}: {error}")
                yield [target, way, "-", "-", f"failed: {str(error)[:50]}"]
                continue
            yield [target, way, f"{1e3 * found:.2f}", f"{found / base:.2f}", _megabytes(setting)]


def _megabytes(setting: Setting) -> str:
    if setting.device == "cpu":
        return "-"
    found = torch.cuda.max_memory_allocated() / 2**20
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return f"{found:.0f} MB"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, in small: no figure of it is one of a GPU")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which no further cell is timed")
    options = parser.parse_args(arguments)
    if not options.rehearse and not torch.cuda.is_available():
        print("refused: torch sees no GPU here; --rehearse tries the program on the CPU", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    setting = Setting("cpu", size=8, width=4, batch=4, seconds=0.0) if options.rehearse else Setting("cuda")
    name = "a CPU, in small: a rehearsal" if options.rehearse else torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, on {name}")
    deadline = time.perf_counter() + options.seconds
    failures: list[str] = []
    table(
        f"Equality with the CPU after {EQUAL_STEPS} steps, TF32 off: bound {BOUND:g}",
        ["target", "arm", "weights", "losses", ""],
        equality_rows(setting, failures),
    )
    table(
        f"A step of {setting.size} pixels, width {setting.width}, batch {setting.batch}: milliseconds a training",
        ["target", "way", "ms", "over eager", "memory"],
        time_rows(setting, failures, deadline),
    )
    print("\n" + ("\n".join(failures) or "nothing failed, and all is within its bound"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
