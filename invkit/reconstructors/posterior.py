"""Posterior mean and samples, their standard deviation and intervals."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from invkit.core.files import write_atomic
from invkit.physics.measurement import Measurement
from invkit.physics.operators.points import PointValues
from invkit.reconstructors.calibration import Calibration, FindCalibrations, none_stored


@dataclass(frozen=True, eq=False)
class Posterior:
    """Posterior mean and samples in [-1, 1] units, not clipped; exactly observed pixels have their observed values."""

    measurement: Measurement
    mean: Tensor  # (B, C, H, W)
    samples: Tensor  # (K, B, C, H, W)
    calibrations: FindCalibrations = none_stored  # the stored factors that hold for these samples

    @cached_property
    def deviation(self) -> Tensor:
        """Standard deviation of the samples (B, C, H, W), zero at exactly observed pixels.

        Raises ValueError for a single sample.
        """
        if len(self.samples) < 2:
            raise ValueError("the standard deviation requires at least 2 samples")
        deviation, exact = self.samples.std(0), self.measurement.exact
        return deviation if exact is None else torch.where(exact, 0.0, deviation)

    def calibration(self, percent: int) -> Calibration:
        """The factor of the calibrated interval of `percent` %. Raises ValueError if none holds for these samples."""
        stored, reason = self.calibrations()
        if (found := next((one for one in stored if one.percent == percent), None)) is None:
            raise ValueError(reason)
        return found

    def interval(self, percent: int, calibrated: bool = False) -> tuple[Tensor, Tensor]:
        """Lower and upper bound, (B, C, H, W) each, of the central interval between two order statistics of the samples.

        It contains another sample of the same distribution with a probability of `percent` %. Possible values are 50, 80
        and 90 for 19 samples, and also 95 for 39. `calibrated`, it is mean ± factor x standard deviation of the samples, with
        the promise of `calibration(percent).promise`. Raises ValueError if the number of samples allows no such interval, or
        if the run stored no factor for it.
        """
        if calibrated:
            mean, half = self.samples.mean(0), self.calibration(percent).factor * self.deviation
            return self.measurement.paste(mean - half), self.measurement.paste(mean + half)
        count = len(self.samples)
        if (rank := central_rank(percent, count)) is None:
            least = next(k for k in range(1, 200) if central_rank(percent, k))
            raise ValueError(f"{count} samples allow no {percent} % interval; {least} do ({_possible(count)})")
        lower = self.samples.kthvalue(rank, 0).values
        return lower, self.samples.kthvalue(count + 1 - rank, 0).values

    def arrays(self) -> dict[str, Tensor]:
        """All values by name: `mean`, `samples`, `deviation` if there are two samples, and the measurement.

        That is `y` and for masks `observed`, or for points `coordinates` (B, N, 2) and `values` (B, N, C).
        """
        measurement, y = self.measurement, self.measurement.y
        arrays = {"mean": self.mean, "samples": self.samples}
        if isinstance(measurement.operator, PointValues):
            arrays |= {"coordinates": measurement.operator.coordinates, "values": y.movedim(1, 2)}
        else:
            arrays["y"] = y
        if measurement.observed is not None:
            arrays["observed"] = measurement.observed
        if len(self.samples) > 1:
            arrays["deviation"] = self.deviation
        return arrays

    def save(self, path: str | Path, percent: int | None = None, calibrated: bool = False) -> Path:
        """Write the `arrays` to an .npz, with `lower` and `upper` of the `interval` of `percent` % if given.

        The suffix is appended if it is missing; returns the path. Floating-point arrays are float32.
        """
        path = Path(path)
        path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
        arrays = self.arrays()
        if percent is not None:
            arrays["lower"], arrays["upper"] = self.interval(percent, calibrated)
        write_npz(path, arrays)
        return path

    def __repr__(self) -> str:
        count, channels, height, width = self.mean.shape
        return f"Posterior({count} x {len(self.samples)} samples, {channels}x{height}x{width}, of {self.measurement})"


def write_npz(path: Path, arrays: Mapping[str, Tensor]) -> None:
    """Write tensors to an .npz, atomically; floating-point ones as float32. The same arrays give the same bytes."""
    packed = io.BytesIO()
    plain = {key: (x.float() if x.is_floating_point() else x).cpu().numpy() for key, x in arrays.items()}
    np.savez_compressed(packed, allow_pickle=False, **plain)  # dates every entry 1980-01-01
    write_atomic(path, packed.getvalue())


def central_rank(percent: int, count: int) -> int | None:
    """The rank r such that [x_(r), x_(K+1-r)] of K ordered samples contains another sample with probability `percent` %.

    The probability is exact for any continuous distribution. None if K samples have no such rank. Raises ValueError for anything
    but a whole number from 1 to 99.

    >>> central_rank(90, 19), central_rank(95, 39), central_rank(95, 19)
    (1, 1, None)
    """
    if not (isinstance(percent, Integral) and 0 < percent < 100):
        raise ValueError(f"percent should be a whole number from 1 to 99, got {percent!r} ({_possible(count)})")
    rank, rest = divmod((100 - int(percent)) * (count + 1), 200)
    return rank if rest == 0 and rank >= 1 else None


def _possible(count: int) -> str:
    values = ", ".join(str(percent) for percent in range(1, 100) if central_rank(percent, count))
    return f"possible with {count} samples: {values or 'none'}"
