"""torchvision, also with a CPU-only torch whose build cannot load torchvision's compiled operators.

There `import torchvision` fails while it registers shape functions for `nms` and `qnms`, operators that this project
never calls. Declaring their schemas first lets the rest of the package (datasets, transforms, utils) load.
"""

import sys

import torch

try:
    import torchvision
except RuntimeError as error:
    if "torchvision::" not in str(error):
        raise
    for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[module]
    _schemas = torch.library.Library("torchvision", "DEF")
    _schemas.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _schemas.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

__all__ = ["torchvision"]
