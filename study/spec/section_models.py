"""The sections of a study file that have settings only.

A new section needs its class here, its line in `Sections` and in `MODELS`, and its lines in `parse` of study_file.py: a
field of `Spec`, and a key of `resolved` if it determines results. Where the section is new, `resolved` has its key only
if the study file gives it, so that the ids of earlier studies stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import Strict, field_validator, model_validator

from mia_core.canaries import Kind
from mia_core.errors import Refused, shorten
from mia_core.metrics import AUTHENTICITY, COPIES, EXTRACTION, MEASURES, SYNTHETIC, ExtractorConfig
from mia_core.metrics.copies import ALPHA, NEIGHBORS
from mia_core.metrics.extraction import REPEATS
from mia_core.settings import added_later, nearest, plain, settings, validate
from mia_core.training import TrainingConfig
from study.spec.locations import TRACKING
from study.spec.objectives import EXTRACTOR, ONNX, PIXELS, SearchSpec
from study.spec.policy import Policy
from study.spec.sampling import DesignSpec

Word = Annotated[str, MinLen(1)]
NEAR_MEMBERS = (*EXTRACTION, *AUTHENTICITY)


def _distinct(words: tuple[str, ...], known: Sequence[str]) -> tuple[str, ...]:
    for word in words:
        if word not in known:
            raise Refused(f"unknown word {shorten(repr(word))}{nearest(word, known)}")
    return tuple(dict.fromkeys(words))


@settings
class CopiesSpec:
    """How samples that copy a member are told. alpha: the false-copy rate, the chance of one more unseen person that a
    record of theirs is called a copy, at most; also that two unseen persons are so near that samples would count as
    repeated. neighbors: members that the nearest one is compared with. extractors: `pixels`, `domain`, `onnx`. repeats:
    samples that must recur to be taken for a training record.
    """

    alpha: Annotated[float, Gt(0), Lt(1)] = ALPHA
    neighbors: Annotated[int, Gt(0)] = NEIGHBORS
    extractors: Annotated[tuple[str, ...], Strict(False)] = (PIXELS, EXTRACTOR)
    repeats: Annotated[int, Ge(2)] = added_later(REPEATS)

    @field_validator("extractors")
    @classmethod
    def _known(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(words, (PIXELS, EXTRACTOR, ONNX))


@settings
class QualitySpec:
    """measures: of `kid fid precision recall density coverage`, and `copies members_copied persons_copied`, which need
    enough unseen records; if named, also `extracted_members extraction_precision` and `authenticity`, in the spaces of
    copies, and `synthetic_accuracy`. against: `members`, `unseen`; copies are of members always.

    samples: generated samples, and at most so many reference records, the same in every trial. onnx: the path of a
    network, in whose features samples are compared with records in place of those of the study's own.
    """

    measures: Annotated[tuple[str, ...], Strict(False)] = (*MEASURES, *COPIES)
    against: Annotated[tuple[str, ...], Strict(False)] = ("unseen", "members")
    samples: Annotated[int, Gt(0)] = 300
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    copies: CopiesSpec = field(default_factory=CopiesSpec)
    onnx: Word | None = added_later(None)

    @field_validator("extractor", "copies", mode="before")
    @classmethod
    def _build(cls, values: Any, info: Any) -> Any:
        model = ExtractorConfig if info.field_name == "extractor" else CopiesSpec
        return validate(model, values, "") if isinstance(values, Mapping) else values

    @field_validator("measures", "against")
    @classmethod
    def _known(cls, words: tuple[str, ...], info: Any) -> tuple[str, ...]:
        every = (*MEASURES, *COPIES, *NEAR_MEMBERS, *SYNTHETIC)
        return _distinct(words, every if info.field_name == "measures" else ("unseen", "members"))

    @model_validator(mode="after")
    def _given(self) -> Self:
        if ONNX in self.copies.extractors and self.onnx is None:
            raise Refused("copies.extractors: onnx is the network of quality.onnx, which is not given; name its file")
        return self

    @property
    def space(self) -> str:
        """The extractor in whose features samples are compared with records."""
        return EXTRACTOR if self.onnx is None else ONNX

    @property
    def of_samples(self) -> tuple[str, ...]:
        """The measures that compare samples with records as a whole."""
        return tuple(name for name in self.measures if name in MEASURES)

    @property
    def of_copies(self) -> tuple[str, ...]:
        """The measures of copies."""
        return tuple(name for name in self.measures if name in COPIES)

    @property
    def of_members(self) -> tuple[str, ...]:
        """Further measures of how near samples come to members, in the spaces of copies."""
        return tuple(name for name in self.measures if name in NEAR_MEMBERS)

    @property
    def of_labels(self) -> tuple[str, ...]:
        """The measures that take labels of records."""
        return tuple(name for name in self.measures if name in SYNTHETIC)

    @property
    def labels(self) -> list[str]:
        """Of all measures, as a design names them."""
        words = {PIXELS: f"{PIXELS}_", ONNX: f"{ONNX}_", EXTRACTOR: ""}
        labels = [f"{name}_{words[self.space]}{against}" for name in self.of_samples for against in self.against]
        near = (*self.of_copies, *self.of_members)
        labels += [f"{name}_{words[of]}members" for of in self.copies.extractors for name in near]
        return labels + [f"{name}_unseen" for name in self.of_labels]

    def to_dict(self) -> dict[str, Any]:
        """The form a resolved spec has; without copies what it had before there were any."""
        values = {**plain(self), "copies": plain(self.copies)}
        if not (self.of_copies or self.of_members):
            del values["copies"]
        return values


@settings
class ControlsSpec:
    """Controls, on in every study; false or 0 leaves one out, and the plan and the summary say so.

    blind: a classifier that sees no target. nulls: replicates that get a target trained without the queries. copycat: a
    generator that replays its training set. member_only: in as many replicates, attacks that are fitted on members
    against non-members are fitted on two halves of the known members, and judged by two halves of the members among the
    judged records, which nothing can tell apart. permutations: of labels, the finest p is 1 / (1 + permutations).
    """

    blind: bool = True
    nulls: Annotated[int, Ge(0)] = 1
    copycat: bool = True
    member_only: bool = added_later(True)
    permutations: Annotated[int, Ge(99), Le(100_000)] = 999

    @field_validator("nulls", mode="before")
    @classmethod
    def _switch(cls, value: Any) -> Any:
        return int(value) if isinstance(value, bool) else value


@settings
class AuditSpec:
    """How claims of privacy are checked. attack: the label whose guesses may contradict one, by default the first.

    canaries: kinds (`gradient`, `mislabelled`, `noise`) that every private arm is trained with once more at its last
    epochs, in so many trainings, each with `count` of them, of which a fair coin a canary trains on about half.
    """

    attack: Word | None = None
    canaries: Annotated[tuple[Kind, ...], Strict(False)] = ()
    count: Annotated[int, Ge(10), Le(100_000)] = 200
    trainings: Annotated[int, Gt(0), Le(1000)] = 1


@settings
class ComputeSpec:
    """Where trials run; changes no result but by floating-point differences between devices.

    gpus_per_trial: share of a GPU, used when the machine or cluster has any; auto for what measured trials leave room
    for. concurrent: trials at once, null for as many as fit. retries: attempts after a failure. checkpoint_seconds:
    between checkpoints inside a trajectory. usd_per_hour, usd_per_gpu_hour: what the machine costs, each
    node of a cluster, and each GPU in use besides; they add up.
    """

    gpus_per_trial: Annotated[float, Ge(0), Le(1)] | Literal["auto"] = "auto"
    concurrent: Annotated[int, Gt(0)] | None = None
    retries: Annotated[int, Ge(0)] = 3
    checkpoint_seconds: Annotated[float, Gt(0)] = 60.0
    usd_per_hour: Annotated[float, Ge(0)] | None = None
    usd_per_gpu_hour: Annotated[float, Ge(0)] | None = None


@settings
class Sections:
    """The top level of a study file; sections that name something are resolved by `Spec`."""

    study: Annotated[str, MinLen(1), MaxLen(100)]
    data: dict[str, Any] | str
    split: dict[str, Any]
    factors: dict[str, Any]
    attacks: list[Any]
    target: dict[str, Any] | str | None = None
    seed: int = 0
    replicates: Annotated[int, Gt(0)] = 5
    design: dict[str, Any] = field(default_factory=dict)
    search: dict[str, Any] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)
    controls: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    derived: list[Any] | None = None
    shadows: Annotated[int, Ge(0), Le(1000)] = 0
    contrasts: list[Any] | None = None
    policy: dict[str, Any] | None = None
    keep_targets: Literal["all", "none"] = "all"
    results: Word = "results"
    tracking: str | None = TRACKING
    experiment: Word | None = None
    compute: dict[str, Any] = field(default_factory=dict)
    packaged: dict[str, Any] = field(default_factory=dict)


MODELS = {
    "training": TrainingConfig,
    "quality": QualitySpec,
    "controls": ControlsSpec,
    "audit": AuditSpec,
    "compute": ComputeSpec,
    "design": DesignSpec,
    "search": SearchSpec,
    "policy": Policy,
}
"""The class of each section that is a mapping of settings, by its key."""
