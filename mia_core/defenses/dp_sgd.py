"""DP-SGD (Abadi et al. 2016; arXiv 1607.00133): clip each real record's gradient, add noise, sample by Poisson.

Only real records are private; gradients of generated records are added untouched (they are a function of weights that
are private already). epsilon(delta), see `accounting`, is for adding or removing one unit: a record, or with
`unit: person` a person with all records of theirs, of whom a step takes one at random. It covers the trained networks,
neither released training curves nor a choice of the epoch made by looking at them, and nothing else that is computed
from the records, such as quality against members.
Noise and samples are drawn under a secret key (`mia_core.secret_draws`): a training that is done again has others.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Self

import torch
from annotated_types import Ge, Gt, Lt
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


@DEFENSES.register
class DPSGD(PrivateDefense):
    """Private training of every network that sees real records."""

    name = "dp_sgd"
    strength = "sigma"

    @settings
    class Config:
        """sigma: noise multiplier (0 = clip only, no guarantee). clip: bound on a record's gradient norm.

        target_epsilon: in place of sigma, the epsilon to end with; the noise then depends on the steps to be trained.
        delta: of (epsilon, delta); must be below 1 / train_size, of persons below 1 / P.
        unit: what is sampled, clipped and accounted: each record, or each person, by one random record of theirs a
        step, with probability batch_size / P (P: the nominal number of persons, see `mia_core.persons`).
        """

        sigma: Annotated[float, Ge(0)] | None = None
        target_epsilon: Annotated[float, Gt(0)] | None = None
        clip: Annotated[float, Gt(0)]
        delta: Annotated[float, Gt(0), Lt(1)]
        unit: Unit = added_later(RECORD)

        @model_validator(mode="after")
        def _either(self) -> Self:
            if (self.sigma is None) == (self.target_epsilon is None):
                raise Refused("give sigma or target_epsilon, one of them")
            return self

    config: Config

    @classmethod
    def shown(cls, config: Any) -> tuple[str, float]:
        """sigma, or the target epsilon."""
        return ("epsilon", config.target_epsilon) if config.sigma is None else ("sigma", config.sigma)

    @classmethod
    def qualifier(cls, config: Any) -> str:
        """The unit, where it is no record."""
        return "" if config.unit == RECORD else f"unit={config.unit}"

    @property
    def control(self) -> bool:
        """Without noise: samples and clipping alone."""
        return self.config.sigma == 0

    @property
    def unit(self) -> Unit:
        """A record or a person."""
        return self.config.unit

    @property
    def delta(self) -> float | None:
        """None where clipping is all."""
        return None if self.config.sigma == 0 else self.config.delta

    @property
    def needs_horizon(self) -> bool:
        """With a target epsilon."""
        return self.config.sigma is None

    def noise_multiplier(self, sampling_rate: float, horizon: int | None) -> float:
        """sigma; of a target epsilon, the one that reaches it after `horizon` steps, ValueError without a horizon."""
        if self.config.sigma is not None:
            return self.config.sigma
        assert self.config.target_epsilon is not None
        if horizon is None:
            raise Refused("dp_sgd.target_epsilon needs a horizon, the steps to be trained, to find its noise")
        return noise_multiplier(self.config.target_epsilon, self.config.delta, sampling_rate, horizon)

    def refusal(self, target: Target) -> str | None:
        """Batch norm mixes records, so that clipping a record's gradient no longer bounds its influence.

        Running statistics, of any norm, take up records past every gradient. Gradients of a single record are known for
        some layers only.
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
        return None

    def empty_guarantee(self, units: int) -> str | None:
        """delta of 1 / units lets one unit be published."""
        if self.config.delta < 1 / units:
            return None
        per = f", for {units} persons," if self.unit == PERSON else ","
        return f"dp_sgd.delta {self.config.delta:g} must be below 1/{units}{per} or it guarantees nothing"

    def batches(self, facts: TrainingFacts) -> Sampled | SampledPersons:
        """Poisson samples, of persons by one random record of theirs."""
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
        """In place of the ordinary rule."""
        rate = self.rate(facts)
        sigma = self.noise_multiplier(rate, facts.horizon)
        return PrivateGradients(sigma, self.config.clip, facts.secret, facts.batch_size, rate)


class PrivateGradients:
    """(sum of clipped gradients + sigma * clip * N(0, 1)) / expected batch, added to `.grad` (RecordGradients).

    sampling_rate: only for the accountant, which counts every call; the default claims nothing from sampling. Each call
    has noise of its own, at the place of the accountant's count in `draws`: it is drawn on the CPU, a step at a time,
    since that of many steps would be as many times the networks.
    """

    def __init__(
        self, sigma: float, clip: float, draws: SecretDraws, expected_batch: float, sampling_rate: float = 1.0
    ) -> None:
        self.sigma = sigma
        self.clip = clip
        self.draws = draws
        self.expected_batch = expected_batch
        self.accountant = Accountant(sigma, sampling_rate)

    def __call__(
        self, networks: Mapping[str, nn.Module], losses: RecordLosses, records: tuple[torch.Tensor, ...], rows: Rows
    ) -> dict[str, torch.Tensor]:
        """Losses of the sampled records, by network."""
        records = without_padding(records, rows.units)
        sums, values = clipped_sums(networks, losses, records, self.clip)
        noise = iter(self._noise([total for totals in sums.values() for total in totals]))
        self.accountant.steps += 1
        for name, totals in sums.items():
            trainable = (p for p in networks[name].parameters() if p.requires_grad)
            for parameter, total in zip(trainable, totals, strict=True):
                private = total.add_(next(noise), alpha=self.sigma * self.clip).div_(self.expected_batch)
                add_gradient(parameter, private)
        return values

    def _noise(self, sums: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Standard normal numbers like each of the sums; zeros without noise."""
        if self.sigma == 0:
            return [torch.zeros_like(total) for total in sums]
        sizes = [total.numel() for total in sums]
        normal = self.draws.normal("noise", self.accountant.steps, sum(sizes))
        parts = normal.to(sums[0].device).split(sizes)
        return [part.view_as(total).to(total.dtype) for part, total in zip(parts, sums, strict=True)]


def without_padding(records: tuple[torch.Tensor, ...], units: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    """Rows that are records. units: [B] as of `Rows`.

    Fewer rows are faster on a CPU. A GPU would rather have one shape in every step: there `clipped_sums` can give
    padding no weight instead.
    """
    if units is None:
        return records
    kept = (units != PADDING).to(records[0].device)
    return tuple(part[kept] for part in records)
