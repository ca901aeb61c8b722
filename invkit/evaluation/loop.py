"""What all methods make of the test pictures of one grid, gathered batch by batch."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.distributed import World
from invkit.core.keys import Keys
from invkit.data.base import Images
from invkit.evaluation.cache import Part, Partial, gaps, joined, pack, unpack
from invkit.evaluation.metrics import Metric, Outcome, Unavailable
from invkit.evaluation.metrics.base import Readout
from invkit.evaluation.results import Row
from invkit.physics.degradation import Degradation
from invkit.physics.measurement import Measurement, Noise, measure
from invkit.physics.operators.mask import Mask
from invkit.reconstructors import Reconstructor

SHOWN = 8  # pictures on the report's sheet
SHOWN_SAMPLES = 2


@dataclass(frozen=True, eq=False)
class Shown:
    """The first pictures of a grid as the report shows them: all on the CPU, in [-1, 1] units, pasted."""

    method: str  # whose mean, samples and deviation these are
    measurement: Measurement
    truth: Tensor  # (B, C, H, W)
    fill: Tensor | None  # (B, C, H, W): the paired method's mean
    mean: Tensor | None  # (B, C, H, W)
    samples: Tensor | None  # (2, B, C, H, W)
    deviation: Tensor | None  # (B, C, H, W): over all K samples


@dataclass(frozen=True, eq=False)
class Work:
    """What is done on one grid, whatever the batch cut."""

    methods: Sequence[Reconstructor]
    images: Images
    degradation: Degradation
    noise: Noise
    metrics: Mapping[str, Metric]
    samples: int
    save: tuple[int, int]  # pictures that are kept, and samples of each of them
    seed: int
    device: torch.device

    def rows(self) -> list[Row]:
        return [Row(method, cast(Readout, readout)) for method in self.methods for readout in method.readouts]

    def measure(self, ids: Sequence[int]) -> tuple[Tensor, Measurement]:
        """The truth (B, C, H, W) of some test pictures, and what is seen of it."""
        x = self.images[ids].to(self.device)
        operator = self.degradation.sample(Keys.of(self.seed, "eval/operator", ids, self.device), self.images.grid)
        return x, measure(operator, x, self.noise, Keys.of(self.seed, "eval/noise", ids, self.device))

    def batch(self, ids: Sequence[int], heard: Callable[[], None]) -> Part:
        """Everything there is to know of some pictures; `heard` is called after each method."""
        truth, measurement = self.measure(ids)
        tensors: dict[str, Tensor] = {"masks": _bits(measurement), "observed_share": _share(measurement)}

        def keep(name: str, pictures: int = max(self.save[0], SHOWN), **results: Tensor) -> None:
            room = max(0, pictures - ids[0])
            if room:
                tensors.update({f"kept/{name}/{key}": x[:room].cpu() for key, x in results.items()})

        keep("truth", truth=truth, y=measurement.y)
        if measurement.observed is not None:
            keep("truth", observed=measurement.observed)
        rows = self.rows()
        mean: Tensor | None = None
        for row in rows:
            name = row.method.name
            try:
                if row.readout == "sample":
                    outcome = self._sample(row, truth, measurement, ids, mean)
                    assert outcome.samples is not None
                    if ids[0] < SHOWN:  # two passes over the samples: not for pictures that nobody sees
                        spread = outcome.samples.std(0, correction=len(outcome.samples) > 1)
                        keep(name, SHOWN, deviation=spread)
                    keep(name, samples=outcome.samples[: max(self.save[1], SHOWN_SAMPLES)].transpose(0, 1))
                else:
                    mean = row.measured(self.device, partial(row.method.mean, measurement), ids)
                    outcome = Outcome(truth, measurement, row.readout, mean)
                    keep(name, mean=mean)
                row.add(outcome, self.metrics)
            except Unavailable as why:
                row.refuse(str(why), self.metrics)
            if row.readout == row.method.readouts[-1]:
                mean = None  # the next method's samples have a mean of their own, or none
                heard()
        for i, row in enumerate(rows):
            tensors.update({f"rows/{i}/{path}": x for path, x in row.tensors().items()})
        return Part(ids[0], len(ids), [row.facts() for row in rows], tensors)

    def _sample(
        self, row: Row, truth: Tensor, measurement: Measurement, ids: Sequence[int], mean: Tensor | None
    ) -> Outcome:
        keys = Keys.of(self.seed, f"eval/sample/{row.method.name}", ids, self.device)
        samples = row.measured(self.device, lambda: row.method.sample(measurement, keys, self.samples), ids)
        return Outcome(truth, measurement, "sample", samples[0], samples, mean)


def _bits(measurement: Measurement) -> Tensor:
    """What is hashed: one bit a pixel, picture after picture; where there is no mask, y's shape. uint8."""
    if isinstance(measurement.operator, Mask):
        bits = [np.packbits(observed) for observed in measurement.operator.observed.cpu().numpy()]
        return torch.from_numpy(np.concatenate(bits))
    text = repr(tuple(measurement.operator.range_shape)).encode() * len(measurement)
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)


def _share(measurement: Measurement) -> Tensor:
    """The share of each picture's values that a mask shows, (B,) float64; of anything else NaN."""
    if measurement.observed is None:
        return torch.full((len(measurement),), torch.nan, dtype=torch.float64)
    return measurement.observed.double().mean((1, 2, 3)).cpu()


class Gathered:
    """What was gathered of all pictures of one grid."""

    def __init__(self, work: Work, parts: Sequence[Part]) -> None:
        self.work, self.rows = work, work.rows()
        for part in parts:
            for i, (row, facts) in enumerate(zip(self.rows, part.facts, strict=True)):
                row.extend(facts, joined([part], f"rows/{i}/"))
        self.masks_sha256 = hashlib.sha256(joined(parts, "masks")[""].numpy().tobytes()).hexdigest()
        self.observed_share: NDArray[np.float64] = joined(parts, "observed_share")[""].numpy()
        self._kept = {name: joined(parts, f"kept/{name}/") for name in ["truth", *(m.name for m in work.methods)]}

    def arrays(self) -> dict[str, dict[str, NDArray[Any]]]:
        """By file, what is saved: float32 in [-1, 1] units, nothing pasted; masks, and the pictures' groups.

        Samples are (K, B, C, H, W). Enough to compute any metric of these pictures again.
        """
        found: dict[str, dict[str, NDArray[Any]]] = {}
        for name, kept in ((name, kept) for name, kept in self._kept.items() if kept):
            # Sorted: what comes from a file or another process has an order of its own.
            tensors = {key: x[: self.work.save[0]] for key, x in sorted(kept.items()) if key != "deviation"}
            if "samples" in tensors:
                tensors["samples"] = tensors["samples"].transpose(0, 1)[: self.work.save[1]]
            found[name] = {
                key: np.ascontiguousarray(x.numpy() if x.dtype == torch.bool else x.float().numpy())
                for key, x in tensors.items()
            }
        groups = [self.work.images.group(i) for i in range(len(found["truth"]["truth"]))]
        found["truth"]["group"] = np.array(groups, dtype=np.str_)
        return found

    def shown(self, paired_to: str) -> Shown:
        """The sheet of the last method that samples, else of the last one."""
        sampling = [row.method.name for row in self.rows if row.readout == "sample" and self._kept[row.method.name]]
        method = (sampling or [self.rows[-1].method.name])[-1]
        kept = {key: x[:SHOWN] for key, x in self._kept[method].items()}
        count = min(SHOWN, len(self._kept["truth"]["truth"]))
        truth, measurement = self.work.measure(range(count))
        measurement = measurement.to("cpu")
        fill, mean, samples = self._kept.get(paired_to, {}).get("mean"), kept.get("mean"), kept.get("samples")
        return Shown(
            method, measurement, truth.cpu(), None if fill is None else measurement.paste(fill[:SHOWN]),
            None if mean is None else measurement.paste(mean),
            None if samples is None else measurement.paste(samples.transpose(0, 1)[:SHOWN_SAMPLES]), kept.get("deviation"),
        )  # fmt: skip


def gather(
    work: Work, count: int, batch: int, progress: Callable[[int], None], world: World, shelf: Partial | None = None
) -> Gathered:
    """Run all methods on the first `count` pictures, and keep what was gathered on `shelf` while it is not all.

    Whole batches are shared between processes, so that every figure is the same bits for any number of them. What is on
    the shelf already is not gathered again.
    """
    known = [part for part in shelf.read() if part.first + part.count <= count] if shelf and world.first else []
    covered = world.gather(json.dumps([(part.first, part.count) for part in known]).encode())[0]
    missing = gaps(json.loads(covered), count, batch)
    before = count - sum(last - first for first, last in missing)
    found, own = list(known), 0

    def report() -> None:
        progress(min(count, before + own * world.size))

    if before:
        report()
    try:
        for first, last in world.share(missing):
            part = work.batch(range(first, last), report)
            found.append(part)
            if shelf:
                shelf.add(part)
            own += last - first
            report()
    except BaseException:  # a signal, or a picture that cannot be read: what was gathered is not lost
        if shelf:
            shelf.flush()
        raise
    if shelf:
        shelf.flush()
    if world.size > 1:
        found = [part for data in world.gather(pack(found)) for part in unpack(data)]
    return Gathered(work, sorted(found, key=lambda part: part.first))
