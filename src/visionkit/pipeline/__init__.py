"""Pictures become batches on a device: the only place that makes a tensor, resizes for a model, or normalises."""

from .batches import Batch, Batches
from .device import choose_device, compute_dtype, full_precision
from .preprocess import Preprocess
from .tensors import to_image, to_tensor

__all__ = [
    "Batch",
    "Batches",
    "Preprocess",
    "choose_device",
    "compute_dtype",
    "full_precision",
    "to_image",
    "to_tensor",
]
