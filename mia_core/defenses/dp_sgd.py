"""DP-SGD (Abadi et al. 2016; arXiv 1607.00133): clip each real record's gradient, add noise, sample by Poisson.

Only real records are private. Gradients of generated records are added without noise, since they are functions of
weights that are already private. epsilon(delta), see `accounting`, is for adding or removing one unit: a record or,
with `unit: person`, a person with all their records, of which a step takes one at random. It covers the trained
networks, but neither released training curves, nor a choice of the epoch based on them, nor anything else that is
computed from the records, such as quality measured against members. Noise and samples are drawn under a secret key
(`mia_core.secret_draws`), so repeated trainings differ.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Self

import torch
from annotated_types import Ge, Gt, Le, Lt
from pydantic import model_validator
from torch import nn

from mia_core.batches import PADDING, Rows, Sampled, SampledPersons, SeededCoins, Uniform, padded_size
from mia_core.defenses.accounting import Accountant, noise_multiplier
from mia_core.defenses.clipping import LAYERS, clipped_sums
from mia_core.defenses.defense import DEFENSES, TrainingFacts
from mia_core.defenses.private_defense import PrivateDefense
from mia_core.errors import Refused
from mia_core.persons import PERSON, RECORD, Unit
from mia_core.secret_draws import SecretDraws
from mia_core.settings import added_later, settings
from mia_core.targets import RecordGradients, RecordLosses, Target, add_gradient

LEAST_NOISE, MOST_NOISE = 1e-6, 1e6
"""Of sigma above 0: with less noise epsilon is beyond 10^11, and its square is no floating-point number; with more,
epsilon rounds to that of no step."""


@DEFENSES.register
class DPSGD(PrivateDefense):
    """Private training of every network that learns from real records."""

    name = "dp_sgd"
    strength = "sigma"

    @settings
    class Config:
        """sigma: noise multiplier (0 = clip only, no guarantee). clip: bound on a record's gradient norm.

        target_epsilon: the final epsilon, instead of sigma; the noise then depends on the number of steps. delta: of
        (epsilon, delta); must be below 1 / train_size, or 1 / P for persons. unit: what is sampled, clipped and
        accounted for: each record, or each person, who is in a step with probability batch_size / P by one random
        record (P: the nominal number of persons, see `mia_core.persons`). noise_draws: K, draws of a record's own
        random numbers in a step (a diffusion model's times and noise, an autoencoder's posterior noise), over which
        its gradient is averaged before it is clipped (DPDM: Dockhorn et al. 2023, arXiv 2210.09929). They take K times
        as long, and cost no privacy.
        """

        sigma: Annotated[float, Ge(0), Le(MOST_NOISE)] | None = None
        target_epsilon: Annotated[float, Gt(0)] | None = None
        clip: Annotated[float, Gt(0)]
        delta: Annotated[float, Gt(0), Lt(1)]
        unit: Unit = added_later(RECORD)
        noise_draws: Annotated[int, Ge(1)] = added_later(1)

        @model_validator(mode="after")
        def _either(self) -> Self:
            if (self.sigma is None) == (self.target_epsilon is None):
                raise Refused("give sigma or target_epsilon, one of them")
            if self.sigma and self.sigma < LEAST_NOISE:
                raise Refused(f"sigma: {self.sigma:g} is so little noise that nothing is guaranteed; give 0, or more")
            return self

    config: Config

    @classmethod
    def shown(cls, config: Any) -> tuple[str, float]:
        """sigma, or the target epsilon."""
        return ("epsilon", config.target_epsilon) if config.sigma is None else ("sigma", config.sigma)

    @classmethod
    def qualifier(cls, config: Any) -> str:
        """The unit, unless it is a record."""
        return "" if config.unit == RECORD else f"unit={config.unit}"

    @property
    def rows_per_record(self) -> int:
        """`noise_draws`."""
        return self.config.noise_draws

    @property
    def control(self) -> bool:
        """True without noise: only sampling and clipping remain."""
        return self.config.sigma == 0

    @property
    def unit(self) -> Unit:
        """A record or a person."""
        return self.config.unit

    @property
    def delta(self) -> float | None:
        """delta of the guarantee; None without noise."""
        return None if self.config.sigma == 0 else self.config.delta

    @property
    def needs_horizon(self) -> bool:
        """True for a target epsilon."""
        return self.config.sigma is None

    def noise_multiplier(self, sampling_rate: float, horizon: int | None) -> float:
        """sigma, or the smallest that reaches the target epsilon after `horizon` steps; Refused without a horizon."""
        if self.config.sigma is not None:
            return self.config.sigma
        assert self.config.target_epsilon is not None
        if horizon is None:
            raise Refused("dp_sgd.target_epsilon needs a horizon, the steps to be trained, to find its noise")
        return noise_multiplier(self.config.target_epsilon, self.config.delta, sampling_rate, horizon)

    def refusal(self, target: Target) -> str | None:
        """Refuses batch norm, running statistics, and layers without known per-record gradients.

        Batch norm mixes records, so that clipping a record's gradient does not bound its influence. Running statistics
        of any norm depend on records in a way that no gradient covers.
        """
        if target.beyond_gradients:
            return f"dp_sgd does not cover {target.beyond_gradients} of {target.name}, which no gradient carries"
        for name in target.private:
            for module in target.get_submodule(name).modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    return f"dp_sgd needs a {name} without batch norm; set target.norm to group or none"
                if getattr(module, "running_mean", None) is not None:
                    return f"dp_sgd does not cover the running statistics of {type(module).__name__} in the {name}"
                if list(module.parameters(recurse=False)) and not isinstance(module, LAYERS):
                    return f"dp_sgd knows no gradient of a single record for {type(module).__name__} in the {name}"
        if self.config.noise_draws > 1 and target.draws(2, 1, 0) == target.draws(1, 1, 0):
            return f"dp_sgd.noise_draws: {target.name} draws no random numbers for a record; leave it out"
        return None

    def empty_guarantee(self, units: int) -> str | None:
        """Requires delta < 1 / units: a mechanism with delta = 1 / units may publish one unit."""
        if self.config.delta < 1 / units:
            return None
        per = f", for {units} persons," if self.unit == PERSON else ","
        return f"dp_sgd.delta {self.config.delta:g} must be below 1/{units}{per} or it guarantees nothing"

    def batches(self, facts: TrainingFacts) -> Sampled | SampledPersons:
        """Poisson samples of records, or of persons by one random record each."""
        nominal = facts.persons.nominal if facts.persons else None
        rate = self.rate(facts)
        size = padded_size(self.nominal_units(facts.train_size, nominal), rate)

        def uniform(purpose: str) -> Uniform:
            if self.delta is None:
                return SeededCoins(facts.streams, purpose)
            return partial(facts.secret.uniform, purpose)

        if self.unit == PERSON:
            assert facts.persons is not None
            return SampledPersons(uniform("poisson"), uniform("person_record"), facts.persons.numbers, rate, size)
        return Sampled(uniform("poisson"), facts.records, rate, size)

    def gradients(self, rule: RecordGradients, facts: TrainingFacts) -> "PrivateGradients":
        """Replaces the ordinary rule."""
        rate = self.rate(facts)
        sigma = self.noise_multiplier(rate, facts.horizon)
        draws = self.config.noise_draws
        return PrivateGradients(sigma, self.config.clip, facts.secret, facts.batch_size, rate, draws)


class PrivateGradients:
    """(sum of clipped gradients + sigma * clip * N(0, 1)) / expected batch, added to `.grad` (RecordGradients).

    sampling_rate: used only by the accountant, which counts every call; the default claims no amplification by
    sampling. The accountant's count is the counter of each call's noise in `draws`. Noise is drawn on the CPU, one step
    at a time, since each step needs as many numbers as the networks have parameters. rows_per_unit: consecutive rows of
    a unit in a batch, whose mean gradient is clipped.
    """

    def __init__(
        self,
        sigma: float,
        clip: float,
        draws: SecretDraws,
        expected_batch: float,
        sampling_rate: float = 1.0,
        rows_per_unit: int = 1,
    ) -> None:
        self.sigma = sigma
        self.clip = clip
        self.draws = draws
        self.expected_batch = expected_batch
        self.rows_per_unit = rows_per_unit
        self.accountant = Accountant(sigma, sampling_rate)

    def __call__(
        self, networks: Mapping[str, nn.Module], losses: RecordLosses, records: tuple[torch.Tensor, ...], rows: Rows
    ) -> dict[str, torch.Tensor]:
        """Losses of the sampled records, by network."""
        records = without_padding(records, rows.units)
        units = None
        if self.rows_per_unit > 1:
            units = torch.arange(len(records[0]) // self.rows_per_unit).repeat_interleave(self.rows_per_unit)
        sums, values = clipped_sums(networks, losses, records, self.clip, units)
        noise = iter(self._noise([total for totals in sums.values() for total in totals]))
        self.accountant.steps += 1
        for name, totals in sums.items():
            trainable = (p for p in networks[name].parameters() if p.requires_grad)
            for parameter, total in zip(trainable, totals, strict=True):
                private = total.add_(next(noise), alpha=self.sigma * self.clip).div_(self.expected_batch)
                add_gradient(parameter, private)
        return values

    def _noise(self, sums: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Standard normal numbers in the shapes of the sums; zeros if sigma is 0."""
        if self.sigma == 0:
            return [torch.zeros_like(total) for total in sums]
        sizes = [total.numel() for total in sums]
        normal = self.draws.normal("noise", self.accountant.steps, sum(sizes))
        parts = normal.to(sums[0].device).split(sizes)
        return [part.view_as(total).to(total.dtype) for part, total in zip(parts, sums, strict=True)]


def without_padding(records: tuple[torch.Tensor, ...], units: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    """The rows that are records. units: int64 [B], see `Rows`.

    Fewer rows are faster on a CPU. A GPU prefers one shape in every step: there `clipped_sums` can give padding no
    weight instead.
    """
    if units is None:
        return records
    kept = (units != PADDING).to(records[0].device)
    return tuple(part[kept] for part in records)
