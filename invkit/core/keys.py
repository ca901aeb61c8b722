"""Keyed random numbers: a draw depends on (seed, purpose, item id, label) only, not on batching, order or device.

The generator is SplitMix64 (Steele, Lea & Flood 2014), started for every item at a hash of its key; integer arithmetic
modulo 2**64 is the same on every device. Normal numbers use the method of Box & Muller (1958), with logarithm, sine and
cosine as polynomials of single IEEE operations, so that they too are bit-identical on CPU and CUDA.

Keys are on the host, where deriving one from another costs nothing beside the launch of an operation on a device; numbers are
computed on the device unless there are few of them, and the host never waits for it.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from invkit.core.device import send
from invkit.core.spans import span

Words = TypeVar("Words", NDArray[np.int64], Tensor)  # 64-bit integers

FEW = 4096  # draws of at most so many numbers are computed on the host and sent to the device
_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(z: Words, k: int) -> Words:
    """Logical (unsigned) right shift of 64-bit integers."""
    return (z >> k) & ((1 << (64 - k)) - 1)


def _mix(z: Words) -> Words:
    z = (z ^ _shift(z, 30)) * _MIX1
    z = (z ^ _shift(z, 27)) * _MIX2
    return z ^ _shift(z, 31)


def _hash(*parts: object) -> int:
    """A signed 64-bit hash of the arguments, the same in every process."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _log(x: Tensor) -> Tensor:
    """Natural logarithm of positive normal float32 numbers, by exactly rounded operations only."""
    mantissa, exponent = torch.frexp(x)  # [1/2, 1)
    factor = (mantissa <= math.sqrt(0.5)) + 1  # [sqrt(1/2), sqrt(2))
    mantissa, exponent = mantissa * factor, (exponent + 1 - factor).to(torch.float32)
    s = (mantissa - 1) / (mantissa + 1)
    s2 = s * s
    tail = ((s2 * (2 / 9) + 2 / 7) * s2 + 2 / 5) * s2 + 2 / 3
    return exponent * math.log(2) + s * (tail * s2 + 2)


def _sqrt(x: Tensor) -> Tensor:
    """Exactly rounded square root of float32; `torch.sqrt` is not exactly rounded on CUDA and some CPUs."""
    return x.double().sqrt().float()


@lru_cache(maxsize=8)
def _polynomials(device: torch.device) -> tuple[Tensor, list[Tensor], Tensor]:
    """Of sine and cosine: the divisor of the first coefficient, and the next ones, (2, 1, 1) each; signs (2, 4) by quadrant."""
    columns = [(362880, 40320), (-1 / 5040, -1 / 720), (1 / 120, 1 / 24), (-1 / 6, -1 / 2), (1, 1)]
    divisor, *others = (send(torch.tensor(c, dtype=torch.float32).view(2, 1, 1), device) for c in columns)
    signs = torch.tensor([[1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float32)
    return divisor, others, send(signs, device)


def _circle(bits: Tensor) -> Tensor:
    """Uniformly distributed points on the unit circle from the lower 32 bits of random integers: (2, B, n) from (B, n)."""
    divisor, others, signs = _polynomials(bits.device)
    quadrant = (bits >> 30) & 3
    angle = ((bits & 0x3FFFFFFF).to(torch.float32) * 2.0**-30 - 0.5) * (math.pi / 2)
    a2 = angle * angle
    # CUDA divides by a Python number as a product with its inverse, which rounds twice; by a tensor it divides exactly.
    values = a2 / divisor + others[0]
    for coefficient in others[1:]:
        values = values * a2 + coefficient
    values[0] *= angle
    return torch.where((quadrant & 1) == 1, values, values.flip(0)) * signs[:, quadrant]


@lru_cache(maxsize=32)
def _counters(count: int) -> NDArray[np.int64]:
    return np.arange(1, count + 1, dtype=np.int64) * _GOLDEN


@lru_cache(maxsize=32)
def _counters_on(device: torch.device, count: int) -> Tensor:
    return send(torch.from_numpy(_counters(count)), device)


@dataclass(frozen=True, eq=False)
class Keys:
    """Random numbers of a batch: one key per item.

    A label names one draw and may be used once. Results have a leading batch dimension and depend only on the item's
    key, the label and the shape.

    >>> keys = Keys.of(0, "doc", [3, 4, 5])
    >>> keys.uniform("u", 2).shape
    torch.Size([3, 2])
    >>> bool((Keys.of(0, "doc", [4]).uniform("u", 2) == Keys.of(0, "doc", [3, 4]).uniform("u", 2)[1:]).all())
    True
    """

    hashes: NDArray[np.int64]  # (B,)
    target: torch.device | None = None  # the device that numbers are sent to; None: they stay on the host
    _used: set[str] = field(default_factory=set, repr=False)

    @classmethod
    def of(
        cls, seed: int, purpose: str, ids: Sequence[int] | Tensor, device: torch.device | str | None = None
    ) -> "Keys":
        """Keys of items (ids of images or steps) for a purpose and a seed, with numbers on a device, or for the host."""
        items = np.asarray(ids.cpu() if isinstance(ids, Tensor) else ids, dtype=np.int64)
        return cls(_mix(_mix(items * _GOLDEN + _hash(seed, purpose))), None if device is None else torch.device(device))

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return self.target or torch.device("cpu")

    @cached_property
    def state(self) -> Tensor:
        """The keys, (B,) int64, where the numbers are."""
        return self._sent(self.hashes)

    def _sent(self, words: NDArray[np.int64]) -> Tensor:
        tensor = torch.from_numpy(words)
        return tensor if self.target is None else send(tensor, self.target)

    def __len__(self) -> int:
        return len(self.hashes)

    def __getitem__(self, index: slice | Tensor) -> "Keys":
        return Keys(self.hashes[index.cpu().numpy() if isinstance(index, Tensor) else index], self.target)

    def child(self, name: str) -> "Keys":
        """Independent keys for a subtask, whose labels may repeat those used here."""
        return Keys(_mix(self.hashes ^ _hash("child", name)), self.target)

    def fork(self, count: int) -> "Keys":
        """`count` independent keys for each item, as a batch of `count * B`: copy 0 of all items, then copy 1, ..."""
        copies = np.arange(1, count + 1, dtype=np.int64)[:, None]
        return Keys(_mix(self.hashes ^ _mix(copies * _GOLDEN)).reshape(-1), self.target)

    @classmethod
    def join(cls, parts: Sequence["Keys"]) -> "Keys":
        """The keys of several batches as one."""
        return cls(np.concatenate([part.hashes for part in parts]), parts[0].target)

    def chunks(self, count: int, size: int, first: int = 0) -> Iterator[tuple[int, "Keys"]]:
        """Copies `first` to `first + count` of `fork` in chunks of at most `size` keys, but at least one copy: pairs of the number
        of copies and their keys.
        """
        forked, most = self.fork(first + count)[first * len(self) :], max(1, size // len(self))
        for start in range(0, count, most):
            copies = min(most, count - start)
            yield copies, forked[start * len(self) : (start + copies) * len(self)]

    def _bits(self, labels: Sequence[str], count: int) -> Tensor:
        """Random 64-bit integers (B, labels, count)."""
        for label in labels:
            if label in self._used:
                raise ValueError(f"the label {label!r} was used twice; each draw needs its own label")
            self._used.add(label)
        starts = np.stack([_mix(self.hashes ^ _hash("label", label)) for label in labels], 1)[:, :, None]
        if starts.size * count <= FEW:
            return self._sent(_mix(starts + _counters(count)))
        return _mix(self._sent(starts) + _counters_on(self.device, count))

    @span("random")
    def uniform(self, label: str, *shape: int) -> Tensor:
        """Uniform on [0, 1) in steps of 2**-24: `(B, *shape)` float32."""
        bits = _shift(self._bits([label], math.prod(shape)), 40)
        return (bits.to(torch.float32) * 2.0**-24).view(-1, *shape)

    def normal(self, label: str, *shape: int) -> Tensor:
        """Standard normal: `(B, *shape)` float32. In one dimension a longer draw starts with the shorter one."""
        return self.normals([label], *shape)[:, 0]

    @span("random")
    def normals(self, labels: Sequence[str], *shape: int) -> Tensor:
        """The `normal` draw of each label: `(B, labels, *shape)` float32."""
        count = math.prod(shape)
        bits = self._bits(labels, (count + 1) // 2).flatten(0, 1)
        open_unit = (_shift(bits, 32).to(torch.float32) + 0.5) * 2.0**-32
        pairs = _sqrt(_log(open_unit).clamp(max=0) * -2) * _circle(bits)  # (2, B * labels, n)
        return pairs.permute(1, 2, 0).flatten(1)[:, :count].reshape(-1, len(labels), *shape)

    @span("random")
    def integers(self, label: str, n: int, *shape: int) -> Tensor:
        """Uniform integers in [0, n), n <= 2**20 (bias below 2**-40): `(B, *shape)` int64."""
        bits = _shift(self._bits([label], math.prod(shape)), 2)
        return (bits % n).view(-1, *shape)

    @span("random")
    def permutation(self, label: str, n: int) -> Tensor:
        """A random permutation of 0..n-1, n <= 2**24, the same on any device: `(B, n)` int64."""
        width = max(n - 1, 1).bit_length()
        bits = self._bits([label], n)[:, 0]
        unique = (_shift(bits, width + 1) << width) | torch.arange(n, device=bits.device)
        return unique.argsort(dim=1)
