"""The records of a study's pool, where they are at hand: a store holds scores, and neither classes nor persons."""

from analysis.study_data import StudyData
from mia_core.data import SOURCES, Pool, load_pool
from mia_core.offers import reading
from study.spec.of_packages import PACKAGED


def pool_at_hand(data: StudyData) -> Pool | str:
    """The pool that the study was made of, or why it is not at hand; nothing is downloaded."""
    return data.once("pool", lambda: _pool_at_hand(data))


def _pool_at_hand(data: StudyData) -> Pool | str:
    described = dict(data.resolved.get("data", {}))
    if "download" in described:
        described["download"] = False
    try:
        with reading(data.resolved.get(PACKAGED)):
            choice = SOURCES.choose(described, "data")
        pool = load_pool(choice)
    except ValueError as error:
        return str(error)
    wanted = set(data.wide["config"].str.extract(r'"data_digest":\s*"(\w+)"', expand=False))
    return pool if wanted == {pool.digest} else f"the {pool.name} at hand is not the one of this study"
