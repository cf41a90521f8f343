"""Evidence on a release of known truth, as a store would have it: every gate holds, and nothing leaks, unless told."""

from dataclasses import replace

import numpy as np

from analysis.release.release_evidence import Control, CopiesFound, Evidence, Scored
from mia_core.access import CAPABILITIES
from study.spec.policy import policy_of
from tests.mia_core.releases import release

POLICY = policy_of({
    "limits": {"auc": 0.6, "tpr_at_1pct_fpr": 0.08, "copies": 0.02, "worst_person": 0.97},
    "name": "A. Officer", "date": "2026-11-30", "review": "2027-11-30",
    "reasons": "A rare disease in a small hospital.\n\nThe recipients are under contract.",
})  # fmt: skip
CONTROLS = (
    Control("blind", "blind", "shown", "members are not told apart without a target", 0.498, 0.0129, 0.9, 0.532),
    Control("blind_files", "blind_files", "shown", "files are not told apart", 0.503, 0.0129, 0.8, 0.532),
    Control("member_only", "local_gan_known10", "inconclusive", "at most 0.08 above 0.5", 0.51, 0.05, 0.6),
    Control("copycat", "copycat_euclidean", "shown", "works", 0.99, 0.002, 1.0),
    Control("held_out", "held_out_euclidean", "inconclusive", "at most 0.03 above 0.5", 0.497, 0.015, 0.9),
)  # fmt: skip
USES = {
    "euclidean": ("samples",), "domias": ("samples",), "local_gan_known10": ("samples",),
    "latent": ("samples", "latent"), "generator": ("samples", "latent", "generator"), "white_box": ("discriminate",),
}  # fmt: skip


def evidence(
    aucs=(("euclidean", 0.53), ("domias", 0.54), ("local_gan_known10", 0.51)),
    members=1000, others=1000, records=(1,), offers=("samples",), holdout="random", numbers=(5000,), seed=0, **changes,
):  # fmt: skip
    """aucs: the true AUC of each attack. numbers: of samples, of the first attack; AUCs grow towards the last."""
    random = np.random.default_rng(seed)
    made = release(random, [auc for _, auc in aucs], members, others, records=records)
    attacks = []
    for (label, _), score in zip(aucs, made.score, strict=True):
        for number in numbers if label == aucs[0][0] else numbers[-1:]:
            noise = random.normal(size=len(score)) * np.sqrt(numbers[-1] / number - 1)
            name = f"{label}_generated{number}" if len(numbers) > 1 and label == aucs[0][0] else label
            uses = frozenset(USES[label])
            access = max(CAPABILITIES[one][0] for one in uses)
            knowledge = "known_members 10% + known_non_members 10%" if "known" in label else "none"
            attacks.append(
                Scored(name, label, access.name, knowledge, uses, number, score + noise, made.member, made.person)
            )
    of = len(np.unique(made.person[made.member])), len(np.unique(made.person[~made.member]))
    several = len(made.person) > sum(of)
    found = Evidence(
        released={"name": "samples", "words": "5,000 samples at 32x32", "sha256": "a" * 64, "offers": list(offers),
                  "count": numbers[-1], "recipient": "Researchers of three universities", "notes": []},
        given={"members": int(made.member.sum()), "non_members": int((~made.member).sum()), "reference": 400,
               "persons_members": of[0] if several else None, "persons_non_members": of[1] if several else None,
               "known": 100, "judged_members": int(made.member.sum()), "judged_non_members": int((~made.member).sum()),
               "holdout": holdout, "left_out": {"equals a non-member": 2}, "notes": ["Images were brought to 32x32."]},
        attacks=attacks,
        controls=CONTROLS,
        copies=CopiesFound(numbers[-1], round(0.01 * numbers[-1]), 0, 0.01, 999, 0.04, 0.04),
        skipped={"white_box": "uses a discriminator, which is not given"},
        about={"name": "given_folders", "size": 32, "channels": 1},
        digest="b" * 64,
        versions={"torch": "2.13.0", "python": "3.11"},
    )  # fmt: skip
    return replace(found, **changes)


def with_control(name, **changes):
    """CONTROLS with changes to one; None in place of changes leaves it out."""
    return tuple(replace(one, **changes) if one.name == name else one for one in CONTROLS)
