"""A cluster file as text, as it is read, and as Ray completes it."""

import copy
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster_files.files import (
    TEXTS,
)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """The provider whose file is tried."""
    return getattr(request, "param", "aws")


@pytest.fixture
def text(kind: str) -> str:
    """The file, head and all."""
    return TEXTS[kind]


@pytest.fixture
def written(text: str) -> dict[str, Any]:
    """The file, as `ray up` reads it."""
    return yaml.safe_load(text)


@pytest.fixture
def config(written: dict[str, Any]) -> dict[str, Any]:
    """The file with Ray's defaults filled in: what a cluster gets."""
    prepared = prepare_config(copy.deepcopy(written))
    validate_config(prepared)
    return prepared
