"""Arguments of the public functions: arrays of any kind as tensors."""

import numpy as np
import torch
from torch import Tensor


def as_tensor(value: object, name: str) -> Tensor:
    """A tensor of real numbers on the CPU, from a tensor, a NumPy array or nested lists; integers become float32.

    Raises ValueError, with the name of the argument, for anything else.

    >>> as_tensor([[1, 2]], "values")
    tensor([[1., 2.]])
    """
    if not isinstance(value, Tensor):
        try:
            array = np.asarray(value)
        except (ValueError, TypeError):  # lists of unequal lengths
            array = np.empty(0, object)
        if array.dtype.kind not in "fiub":
            raise ValueError(
                f"{name} should be an array of real numbers, got {type(value).__name__} ({array.dtype}); convert it with "
                "numpy.asarray or torch.as_tensor"
            )
        if array.dtype.kind == "f" and array.dtype.itemsize > 8:
            array = array.astype(np.float64)
        value = torch.from_numpy(np.array(array, order="C", dtype=array.dtype.newbyteorder("=")))
    if value.is_complex():
        raise ValueError(f"{name} should be real numbers, got {value.dtype}; give torch.view_as_real of it")
    return value.detach().to("cpu", torch.float64 if value.dtype == torch.float64 else torch.float32)
