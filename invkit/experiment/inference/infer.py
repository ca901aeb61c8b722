"""The posterior of one input, in portions that are kept, with the time it takes."""

from collections.abc import Callable

import torch

from invkit.core.errors import DataError, NonFiniteError
from invkit.core.progress import Progress, duration
from invkit.experiment.calibration import refusal
from invkit.experiment.inference.image_files import InputFile
from invkit.experiment.inference.kept import Kept
from invkit.experiment.inference.request import Request
from invkit.physics.measurement import Measurement
from invkit.reconstructors.posterior import Posterior

PORTION = 1 << 22  # values of the samples that are drawn, and kept, at a time
ANNOUNCED = 60.0  # seconds; the duration of a longer computation is announced

Notify = Callable[[str], None]


def infer(
    request: Request, file: InputFile, measurement: Measurement, tiled: bool, kept: Kept, notify: Notify, progress: Progress
) -> Posterior:  # fmt: skip
    """Posterior mean and samples, keyed by the name of the input. Raises NonFiniteError if a value is not finite.

    The samples of a large image are drawn in portions; those that an interrupted call has finished are not drawn again.
    """
    count, settings = request.options.samples, request.settings
    portion = max(1, PORTION // (measurement.grid.channels * measurement.grid.pixels))
    firsts = range(0, count, portion)
    mean = kept.load("mean")
    found = {first: x for first in firsts if (x := kept.load(f"samples-{first}")) is not None}
    skipped = 0

    def report(done: int, total: int) -> None:
        progress(done + skipped, total)

    drawing = request.trained.drawing(
        measurement, request.options.seed, [file.key], tiled, settings=settings, progress=report, total=1 + count * settings.calls
    )  # fmt: skip
    if request.options.calibrated and (
        why := refusal(drawing, request.trained.recipe, request.trained.unlike(drawing))
    ):
        raise DataError(f"{file}: {why}")
    skipped = drawing.size * ((mean is not None) + sum(len(x) for x in found.values()) * settings.calls)
    left = count - sum(len(x) for x in found.values())
    if left < count:
        notify(f"{file}: {count - left} of {count} samples were kept by an earlier call")
    if len(firsts) > 1 and left and (seconds := drawing.seconds(left)) > ANNOUNCED:
        notify(
            f"{file}: this takes about {duration(seconds)} ({drawing.calls(left):,} network calls); Ctrl-C stops, and the same "
            "command goes on with the samples that are finished"
        )
    if mean is None:
        mean = drawing.mean()
        if len(firsts) > 1:
            kept.keep("mean", mean)
    samples = torch.empty(count, *mean.shape)
    for first in firsts:
        drawn = found.pop(first, None)
        if drawn is None:
            drawn = drawing.samples(min(portion, count - first), first)
            if len(firsts) > 1:
                kept.keep(f"samples-{first}", drawn)
        samples[first : first + len(drawn)] = drawn
    if not bool(mean.isfinite().all() and samples.isfinite().all()):
        raise NonFiniteError(
            f"{file}: the result is not finite; check the values of the input and the training of the run"
        )
    return Posterior(measurement, mean, samples, request.trained.calibrations(drawing, count))
