"""Draws docs/start/how_it_works.svg: `python docs/make_diagram.py`."""

from html import escape
from pathlib import Path

WIDTH, HEIGHT, BOX, COLUMN, ROW = 400, 430, (158, 52), 210, 86
BOXES = {  # name -> column, row, lines
    "image": (0, 0, ("image x", "from a data set")),
    "measurement": (1, 0, ("measurement y", "A x + noise")),
    "baselines": (0, 1, ("other methods", "on the same y")),
    "estimate": (1, 1, ("initial estimate", "kriging")),
    "network": (1, 2, ("network", "denoises a residual")),
    "samples": (1, 3, ("samples", "images that fit y")),
    "table": (0, 4, ("table and report", "all methods, with intervals")),
    "numbers": (1, 4, ("mean, std, intervals", "of the samples")),
}
ARROWS = (
    ("image", "measurement", "A"), ("measurement", "estimate", ""), ("estimate", "network", ""),
    ("network", "samples", "8 to 20 calls"), ("samples", "numbers", ""), ("measurement", "baselines", ""),
    ("baselines", "table", "compared with x"), ("numbers", "table", ""),
)  # fmt: skip
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.s{font-size:11px;fill:#555}"
    "rect{fill:#f3f6fb;stroke:#3b6ea8;stroke-width:1.5}path{stroke:#3b6ea8;stroke-width:1.5;fill:none}"
)


def centre(name: str) -> tuple[float, float]:
    column, row, _ = BOXES[name]
    return 92 + column * COLUMN, 44 + row * ROW


def arrow(start: str, end: str, label: str) -> str:
    (x, y), (u, v) = centre(start), centre(end)
    half_width, half_height = BOX[0] / 2, BOX[1] / 2
    if y == v:
        side = 1 if u > x else -1
        x, u = x + side * half_width, u - side * half_width
    else:
        y, v = y + half_height, v - half_height
    text = f'<text class="s" text-anchor="{"middle" if y == v else "start"}" x="{(x + u) / 2 + 6 * (y != v):g}" '
    text += f'y="{(y + v) / 2 + (-6 if y == v else 4):g}">{escape(label)}</text>'
    return f'<path marker-end="url(#a)" d="M{x:g} {y:g}L{u:g} {v:g}"/>' + (text if label else "")


def diagram() -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>From an image to samples and a table</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="a" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">',
        '<path d="M0 0L8 4L0 8z" style="fill:#3b6ea8;stroke:none"/></marker></defs>',
        f'<rect style="fill:white;stroke:none" width="{WIDTH}" height="{HEIGHT}"/>',
    ]
    for name, (_, _, lines) in BOXES.items():
        x, y = centre(name)
        parts.append(f'<rect rx="6" x="{x - BOX[0] / 2:g}" y="{y - BOX[1] / 2:g}" width="{BOX[0]}" height="{BOX[1]}"/>')
        for n, line in enumerate(lines):
            parts.append(
                f'<text{" class=" + chr(34) + "s" + chr(34) if n else ""} text-anchor="middle" x="{x:g}" y="{y - 4 + 19 * n:g}">'
                f"{escape(line)}</text>"
            )
    return "\n".join([*parts, *(arrow(*own) for own in ARROWS), "</svg>"]) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "start" / "how_it_works.svg").write_text(diagram(), "utf-8")
