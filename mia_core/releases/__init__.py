"""Releases: generators that a user already has, as samples, an ONNX model of a generator or of a denoiser,
weights of a target, or a function.
"""

from mia_core.releases.given_samples import GivenSamples
from mia_core.releases.onnx_denoiser import OnnxDenoiser
from mia_core.releases.onnx_generator import OnnxGenerator
from mia_core.releases.release_contract import RELEASES, Form, Release, ReleaseSettings
from mia_core.releases.released_weights import ReleasedWeights
from mia_core.releases.user_function import UserFunction

__all__ = [
    "RELEASES",
    "Form",
    "GivenSamples",
    "OnnxDenoiser",
    "OnnxGenerator",
    "Release",
    "ReleaseSettings",
    "ReleasedWeights",
    "UserFunction",
]
