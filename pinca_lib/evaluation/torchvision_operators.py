"""Makes ``import piq`` work beside a CPU-only torch.

piq imports torchvision. PyPI's torchvision for Linux is built for CUDA, and beside a CPU-only
torch its compiled operators do not load; importing it then fails with "operator torchvision::nms
does not exist", because it describes operators that nothing has declared. Nothing here calls
them, so declaring their names is enough. A torchvision that loads is left as it is.
"""

import importlib.util
from pathlib import Path

import torch

SIGNATURES = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declarations = []  # a library's declarations live as long as the library object


def declare_missing() -> None:
    """Declare torchvision's operator names where its compiled library cannot."""
    if _declarations or _compiled_library_loads():
        return
    library = torch.library.Library("torchvision", "DEF")
    for name, signature in SIGNATURES.items():
        library.define(name + signature)
    _declarations.append(library)


def _compiled_library_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    for library in Path(spec.origin).parent.glob("_C*"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            continue
        return True
    return False
