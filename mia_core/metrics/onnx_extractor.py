"""An extractor that the user gives as an ONNX file: no labels are needed, and nothing is trained."""

import hashlib

import numpy as np
import torch

from mia_core.data.pool import to_float
from mia_core.errors import Refused
from mia_core.onnx_files import computed, read_onnx, session, the_one

WHERE, WHAT = "quality", "the network of quality.onnx"


class OnnxExtractor:
    """One input, images float32 [B,C,H,W] in [-1, 1], and one output, features float32 [B,d] (or [B,d,1,1]).

    digest: sha256 of the file. num_features: d. Refused for a file that is no such network, or has anything but
    standard operators.
    """

    def __init__(self, path: str, image_shape: tuple[int, ...]) -> None:
        data = read_onnx(path, "onnx", WHERE)
        self.digest = hashlib.sha256(data).hexdigest()
        self._session = session(data, WHERE, WHAT)
        self._input = the_one(self._session.get_inputs(), "inputs", "images", WHERE, WHAT)
        self._output = the_one(self._session.get_outputs(), "outputs", "features", WHERE, WHAT)
        given = list(self._session.get_inputs()[0].shape)
        wanted = list(image_shape)
        if len(given) != 4 or any(isinstance(a, int) and a != b for a, b in zip(given[1:], wanted, strict=False)):
            raise Refused(f"{WHERE}: {WHAT} takes {given}, and the images are {wanted}; export it for [B, C, H, W]")
        if isinstance(given[0], int):
            raise Refused(f"{WHERE}: {WHAT} takes batches of {given[0]} alone; export it with any number of images")
        self.num_features = self.features(torch.zeros(2, *image_shape)).shape[1]

    def features(self, images: torch.Tensor, chunk: int = 256) -> torch.Tensor:
        """Features [B,d] of images [B,C,H,W], uint8 or float in [-1, 1], in chunks, on the CPU."""
        floats = to_float(images) if images.dtype == torch.uint8 else images
        return torch.cat([torch.from_numpy(self._run(part.cpu().numpy())) for part in floats.split(chunk)])

    def _run(self, x_BCHW: np.ndarray) -> np.ndarray:
        given = {self._input: np.ascontiguousarray(x_BCHW, dtype=np.float32)}
        found = computed(self._session, self._output, given, WHERE, WHAT)
        if found.ndim not in (2, 4) or len(found) != len(x_BCHW) or not found.size:
            raise Refused(f"{WHERE}: {WHAT} gives {list(found.shape)} for {len(x_BCHW)} images; [B, d] is needed")
        return found.reshape(len(found), -1)
