"""The evaluation loop on one grid: measure, reconstruct with every method, and score, batch by batch."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.distributed import World
from invkit.data.base import Images
from invkit.evaluation.cache import BatchResults, ResultCache, concatenated, gaps, pack, unpack
from invkit.evaluation.metrics import Outcome, Unavailable
from invkit.evaluation.metrics.base import Readout
from invkit.evaluation.protocol import Protocol
from invkit.evaluation.results import MethodScores
from invkit.physics.degradation import Degradation
from invkit.physics.measurement import Measurement
from invkit.physics.operators.mask import Mask
from invkit.reconstructors import Reconstructor

SHOWN = 8  # images whose results are kept for the report
SHOWN_SAMPLES = 1
SUMMARY = ("average", "std")  # of all samples
EXACT = "oracle"  # method that samples the exact posterior
HASHED = 8  # images whose measured values are hashed


@dataclass(frozen=True, eq=False)
class EvaluationLoop:
    """The evaluation on one grid: measure, reconstruct with every method, and score, batch by batch."""

    methods: Sequence[Reconstructor]
    images: Images
    protocol: Protocol
    count: int  # images that are evaluated, the first of the split

    def new_scores(self) -> list[MethodScores]:
        """Empty scores of every estimator of every method, in the order of the table's rows."""
        return [MethodScores(method, cast(Readout, readout)) for method in self.methods for readout in method.readouts]

    def run(self, progress: Callable[[int], None], world: World, cache: ResultCache | None = None) -> "GridResults":
        """Evaluate all methods on all images, except cached batches; finished batches are added to `cache`.

        Processes share whole batches, so results are bit-identical for any number of processes. `progress` is called
        with the number of finished images.
        """
        known = [b for b in cache.read() if b.first + b.count <= self.count] if cache and world.first else []
        covered = world.gather(json.dumps([(batch.first, batch.count) for batch in known]).encode())[0]
        missing = gaps(json.loads(covered), self.count, self.protocol.batch)
        before = self.count - sum(last - first for first, last in missing)
        found, own = list(known), 0

        def report() -> None:
            progress(min(self.count, before + own * world.size))

        if before:
            report()
        try:
            for first, last in world.share(missing):
                batch = self.batch(range(first, last), report)
                found.append(batch)
                if cache:
                    cache.add(batch)
                own += last - first
                report()
        finally:  # keep finished batches, also after a signal or an unreadable image
            if cache:
                cache.flush()
        if world.size > 1:
            found = [batch for data in world.gather(pack(found)) for batch in unpack(data)]
        return GridResults(self, sorted(found, key=lambda batch: batch.first))

    def batch(self, ids: Sequence[int], report: Callable[[], None]) -> BatchResults:
        """Evaluate the images `ids`: their scores and the tensors to store. `report` is called after each method."""
        truth, measurement = self.protocol.measure(self.images, ids)
        tensors: dict[str, Tensor] = {
            "measured": _measured_bytes(measurement, ids, self.protocol.degradation),
            "observed_share": _observed_share(measurement),
        }
        save, save_samples = self.protocol.settings.kept(self.count)

        def keep(name: str, images: int = max(save, SHOWN), **results: Tensor) -> None:
            room = max(0, images - ids[0])
            if room:
                tensors.update({f"kept/{name}/{key}": x[:room].cpu() for key, x in results.items()})

        keep("truth", truth=truth, y=measurement.y)
        if measurement.observed is not None:
            keep("truth", observed=measurement.observed)
        scores = self.new_scores()
        mean: Tensor | None = None
        exact: Tensor | None = None
        for row in sorted(scores, key=lambda row: row.method.name != EXACT):  # first, for comparison with the others
            name = row.method.name
            try:
                if row.readout == "sample":
                    outcome = self._sample(row, truth, measurement, ids, mean)
                    exact = outcome.samples if name == EXACT else exact
                    outcome = replace(outcome, exact=exact)
                    assert outcome.samples is not None
                    if ids[0] < SHOWN:  # computed for the report only
                        keep(name, SHOWN, **summary(outcome.samples))
                    keep(name, samples=outcome.samples[: max(save_samples, SHOWN_SAMPLES)].transpose(0, 1))
                else:
                    work = partial(row.method.mean, measurement)
                    mean = row.timed(self.protocol.device, work, ids, truth.shape)
                    outcome = Outcome(truth, measurement, row.readout, mean, law=self.protocol.law)
                    keep(name, mean=mean)
                row.add(outcome, self.protocol.metrics)
            except Unavailable as why:
                row.refuse(str(why), self.protocol.metrics)
            if row.readout == row.method.readouts[-1]:
                mean = None  # not to be used for the samples of the next method
                report()
        for i, row in enumerate(scores):
            tensors.update({f"rows/{i}/{path}": x for path, x in row.tensors().items()})
        return BatchResults(ids[0], len(ids), [row.facts() for row in scores], tensors)

    def _sample(
        self, row: MethodScores, truth: Tensor, measurement: Measurement, ids: Sequence[int], mean: Tensor | None
    ) -> Outcome:
        device, count = self.protocol.device, self.protocol.settings.samples
        work = partial(row.method.sample, measurement, self.protocol.sample_keys(row.method.name, ids), count)
        samples = row.timed(device, work, ids, (count, *truth.shape))
        return Outcome(truth, measurement, "sample", samples[0], samples, mean, self.protocol.law)


def summary(
    samples: Tensor,  # (K, B, C, H, W)
) -> dict[str, Tensor]:
    """What the report shows of all samples: their mean and standard deviation, (B, C, H, W) each."""
    return {"average": samples.mean(0), "std": samples.std(0, correction=len(samples) > 1)}


def _measured_bytes(measurement: Measurement, ids: Sequence[int], degradation: Degradation) -> Tensor:
    """What is hashed of the measurements of the images `ids`, uint8, image by image.

    The mask, one bit per pixel, or else the settings of the degradation and the shape of y; and, of the first `HASHED` images,
    mean and root mean square of y to three decimals: these few numbers are the same on every device, which its values are not.
    """
    operator, parts = measurement.operator, []
    settings = degradation.model_dump_json(serialize_as_any=True)
    for row, (i, y) in enumerate(zip(ids, measurement.y.double().flatten(1).cpu(), strict=True)):
        if isinstance(operator, Mask):
            parts.append(np.packbits(operator.observed[row].cpu().numpy()).tobytes())
        else:
            parts.append(repr((type(degradation).__name__, settings, tuple(operator.range_shape))).encode())
        if i < HASHED:
            parts.append(f"{y.mean():.3f} {y.square().mean().sqrt():.3f}".replace("-0.000", "0.000").encode())
    return torch.frombuffer(bytearray(b"".join(parts)), dtype=torch.uint8)


def _observed_share(measurement: Measurement) -> Tensor:
    """The share of each image's values that a mask observes, (B,) float64; NaN without a mask."""
    if measurement.observed is None:
        return torch.full((len(measurement),), torch.nan, dtype=torch.float64)
    return measurement.observed.double().mean((1, 2, 3)).cpu()


class GridResults:
    """The results of all images of one grid."""

    def __init__(self, loop: EvaluationLoop, batches: Sequence[BatchResults]) -> None:
        self.loop, self.scores = loop, loop.new_scores()
        for batch in batches:
            for i, (row, facts) in enumerate(zip(self.scores, batch.facts, strict=True)):
                row.extend(facts, concatenated([batch], f"rows/{i}/"))
        self.masks_sha256 = hashlib.sha256(concatenated(batches, "measured")[""].numpy().tobytes()).hexdigest()
        self.observed_share: NDArray[np.float64] = concatenated(batches, "observed_share")[""].numpy()
        names = ["truth", *(method.name for method in loop.methods)]
        self.kept = {name: concatenated(batches, f"kept/{name}/") for name in names}

    def arrays(self) -> dict[str, dict[str, NDArray[Any]]]:
        """The arrays to save, by file: float32 in [-1, 1] units, without pasted values; also masks and the images' groups.

        Samples are (K, B, C, H, W). They suffice to compute any metric of these images again.
        """
        save, save_samples = self.loop.protocol.settings.kept(self.loop.count)
        found: dict[str, dict[str, NDArray[Any]]] = {}
        for name, kept in ((name, kept) for name, kept in self.kept.items() if kept):
            # Sorted, because the order in a file or from another process may differ.
            tensors = {key: x[:save] for key, x in sorted(kept.items()) if key not in SUMMARY}
            if "samples" in tensors:
                tensors["samples"] = tensors["samples"].transpose(0, 1)[:save_samples]
            found[name] = {
                key: np.ascontiguousarray(x.numpy() if x.dtype == torch.bool else x.float().numpy())
                for key, x in tensors.items()
            }
        groups = [self.loop.images.group(i) for i in range(len(found["truth"]["truth"]))]
        found["truth"]["group"] = np.array(groups, dtype=np.str_)
        return found
