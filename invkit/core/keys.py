"""Keyed random numbers: a draw depends on (seed, purpose, item id, label) only, not on batching, order or device.

The generator is SplitMix64 (Steele, Lea & Flood 2014), started for every item at a hash of its key; integer arithmetic
modulo 2**64 is the same on every device. Normal numbers use the method of Box & Muller (1958), with logarithm, sine and
cosine as polynomials of single IEEE operations, so that they too are bit-identical on CPU and CUDA.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(z: Tensor, k: int) -> Tensor:
    """Logical (unsigned) right shift of 64-bit integers."""
    return (z >> k) & ((1 << (64 - k)) - 1)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _MIX1
    z = (z ^ _shift(z, 27)) * _MIX2
    return z ^ _shift(z, 31)


def _hash(*parts: object) -> int:
    """A signed 64-bit hash of the arguments, the same in every process."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _log(x: Tensor) -> Tensor:
    """Natural logarithm of positive normal float32 numbers, by exactly rounded operations only."""
    bits = x.view(torch.int32)
    mantissa = ((bits & 0x7FFFFF) | 0x3F800000).view(torch.float32)  # [1, 2)
    exponent = (bits >> 23) - 127
    high = mantissa > math.sqrt(2)
    mantissa = torch.where(high, mantissa * 0.5, mantissa)
    exponent = (exponent + high).to(torch.float32)
    s = (mantissa - 1) / (mantissa + 1)
    s2 = s * s
    tail = ((s2 * (2 / 9) + 2 / 7) * s2 + 2 / 5) * s2 + 2 / 3
    return exponent * math.log(2) + s * (tail * s2 + 2)


def _sqrt(x: Tensor) -> Tensor:
    """Exactly rounded square root of float32; `torch.sqrt` is not exactly rounded on CUDA and some CPUs."""
    return x.double().sqrt().float()


def _circle(bits: Tensor) -> tuple[Tensor, Tensor]:
    """A uniformly distributed point on the unit circle from 32 random bits."""
    quadrant = bits >> 30
    angle = ((bits & 0x3FFFFFFF).to(torch.float32) * 2.0**-30 - 0.5) * (math.pi / 2)
    a2 = angle * angle
    # CUDA divides by a Python number as a product with its inverse, which rounds twice; by a tensor it divides exactly.
    eighth, ninth = (a2 / a2.new_full((1,), math.factorial(n)) for n in (8, 9))
    sin = ((((ninth - 1 / 5040) * a2 + 1 / 120) * a2 - 1 / 6) * a2 + 1) * angle
    cos = (((eighth - 1 / 720) * a2 + 1 / 24) * a2 - 1 / 2) * a2 + 1
    swap = (quadrant & 1).bool()
    x, y = torch.where(swap, sin, cos), torch.where(swap, cos, sin)
    return torch.where(quadrant >= 2, -x, x), torch.where((quadrant == 1) | (quadrant == 2), -y, y)


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

    state: Tensor  # (B,) int64
    _used: set[str] = field(default_factory=set, repr=False)

    @classmethod
    def of(cls, seed: int, purpose: str, ids: Sequence[int] | Tensor, device: torch.device | str = "cpu") -> "Keys":
        """Keys of items (ids of images or steps) for a purpose and a seed."""
        ids = torch.as_tensor(ids, dtype=torch.int64, device=device)
        return cls(_mix(_mix(ids * _GOLDEN + _hash(seed, purpose))))

    def __len__(self) -> int:
        return len(self.state)

    def __getitem__(self, index: slice | Tensor) -> "Keys":
        return Keys(self.state[index])

    def child(self, name: str) -> "Keys":
        """Independent keys for a subtask, whose labels may repeat those used here."""
        return Keys(_mix(self.state ^ _hash("child", name)))

    def fork(self, count: int) -> "Keys":
        """`count` independent keys for each item, as a batch of `count * B`: copy 0 of all items, then copy 1, ..."""
        copies = torch.arange(1, count + 1, device=self.state.device).view(-1, 1)
        return Keys(_mix(self.state ^ _mix(copies * _GOLDEN)).view(-1))

    def chunks(self, count: int, size: int, first: int = 0) -> Iterator[tuple[int, "Keys"]]:
        """Copies `first` to `first + count` of `fork` in chunks of at most `size` keys, but at least one copy: pairs of the number
        of copies and their keys.
        """
        forked, most = self.fork(first + count)[first * len(self) :], max(1, size // len(self))
        for start in range(0, count, most):
            copies = min(most, count - start)
            yield copies, forked[start * len(self) : (start + copies) * len(self)]

    def _bits(self, label: str, count: int) -> Tensor:
        if label in self._used:
            raise ValueError(f"the label {label!r} was used twice; each draw needs its own label")
        self._used.add(label)
        counters = torch.arange(1, count + 1, device=self.state.device) * _GOLDEN
        return _mix(_mix(self.state ^ _hash("label", label)).view(-1, 1) + counters)  # (B, count)

    def uniform(self, label: str, *shape: int) -> Tensor:
        """Uniform on [0, 1) in steps of 2**-24: `(B, *shape)` float32."""
        bits = _shift(self._bits(label, math.prod(shape)), 40)
        return (bits.to(torch.float32) * 2.0**-24).view(-1, *shape)

    def normal(self, label: str, *shape: int) -> Tensor:
        """Standard normal: `(B, *shape)` float32. In one dimension a longer draw starts with the shorter one."""
        count = math.prod(shape)
        bits = self._bits(label, (count + 1) // 2)
        open_unit = (_shift(bits, 32).to(torch.float32) + 0.5) * 2.0**-32
        radius = _sqrt(_log(open_unit).clamp(max=0) * -2)
        x, y = _circle(bits & 0xFFFFFFFF)
        return torch.stack([radius * x, radius * y], -1).view(len(self), -1)[:, :count].reshape(-1, *shape)

    def integers(self, label: str, n: int, *shape: int) -> Tensor:
        """Uniform integers in [0, n), n <= 2**20 (bias below 2**-40): `(B, *shape)` int64."""
        bits = _shift(self._bits(label, math.prod(shape)), 2)
        return (bits % n).view(-1, *shape)

    def permutation(self, label: str, n: int) -> Tensor:
        """A random permutation of 0..n-1, n <= 2**24, the same on any device: `(B, n)` int64."""
        width = max(n - 1, 1).bit_length()
        bits = self._bits(label, n)
        unique = (_shift(bits, width + 1) << width) | torch.arange(n, device=bits.device)
        return unique.argsort(dim=1)
