"""The grid: square cells on a rectangle whose shorter side has length 1."""

from dataclasses import dataclass
from numbers import Integral


@dataclass(frozen=True)
class Grid:
    """A discretisation of the image domain by `height x width` square cells; an image holds cell averages.

    Lengths (blur widths, box sides) are relative to the shorter side, so that a setting has the same meaning on every grid.

    >>> Grid(32, 64).extent
    (1.0, 2.0)
    >>> Grid(16, 16).cell
    0.0625
    """

    height: int
    width: int
    channels: int = 3

    def __post_init__(self) -> None:
        for name in ("height", "width", "channels"):
            if not isinstance(value := getattr(self, name), Integral):
                raise ValueError(f"{name} of a grid should be a whole number, got {value!r}")
            object.__setattr__(self, name, int(value))
        if min(self.height, self.width, self.channels) < 1:
            raise ValueError(f"a grid needs at least one cell and one channel, got {self}")

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def picture(self) -> tuple[int, int, int]:
        """Shape of one image, `(C, H, W)`."""
        return self.channels, self.height, self.width

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def cell(self) -> float:
        """Side of a cell, relative to the shorter side."""
        return 1.0 / min(self.height, self.width)

    @property
    def area(self) -> float:
        """Area of a cell: the weight of a pixel in the L2 inner product of the domain."""
        return self.cell**2

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width of the domain; the smaller is 1."""
        return self.height * self.cell, self.width * self.cell

    def scaled(self, cells: int) -> "Grid":
        """The grid of the same domain with `cells` cells along the shorter side.

        >>> str(Grid(24, 48).scaled(36))
        '36x72'
        """
        height, width = (max(1, round(cells * length)) for length in self.extent)
        return Grid(height, width, self.channels)

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


def as_grid(size: Grid | int | tuple[int, int], channels: int) -> Grid:
    """A grid, or the one of a size: a number for a square, or height and width.

    >>> as_grid((2, 3), 1)
    Grid(height=2, width=3, channels=1)
    """
    if isinstance(size, Grid):
        return size
    if isinstance(size, Integral):
        return Grid(int(size), int(size), channels)
    try:
        height, width = size  # type: ignore[misc]
    except (TypeError, ValueError):
        raise ValueError(f"a grid is a Grid, a number of cells, or height and width, got {size!r}") from None
    return Grid(height, width, channels)
