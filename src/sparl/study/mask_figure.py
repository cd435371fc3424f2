"""How masks moved over training, after figures 11 and 19-25 of MAST (Hu et al., NeurIPS 2024)."""

import io
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from sparl.errors import SparlError
from sparl.files import write_whole

_LAYERS = ("agent/fc1/w", "agent/rnn/w_ih", "agent/rnn/w_hh", "mixer/hyper_w1/0/w")
_MOMENTS = 4

# Colours that stay apart for every kind of colour vision (Okabe and Ito).
_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#8c8c8c"

# All lengths are in pixels, so that every link can cover the same whole number of them.
_DPI = 160
_LEFT, _RIGHT, _TOP = 90, 80, 128
_ABOVE, _BELOW = 92, 68  # What a row needs around its panels.
_MASK_GAP = 20
_CURVE_WIDTH, _CURVE_GAP = 200, 72
_SMALL, _MEDIUM, _LARGE = 7.5, 8.5, 11  # Font sizes, in points.


def save(
    history: dict[int, dict[str, np.ndarray]], path: Path, *, title: str, agents: int = 1
) -> None:
    """Write the picture of `draw` as a PNG, in full or not at all.

    Raises:
        SparlError: If it cannot be written.
    """
    if not path.parent.is_dir():
        raise SparlError(f"could not write {path}: there is no folder {path.parent}; create it")
    canvas = FigureCanvasAgg(draw(history, title=title, agents=agents))
    png = io.BytesIO()
    canvas.print_png(png)
    try:
        write_whole(path, png.getvalue())
    except OSError as error:
        raise SparlError(
            f"could not write {path}: {error.strerror}; mend that or choose another path"
        ) from error


def draw(history: dict[int, dict[str, np.ndarray]], *, title: str, agents: int = 1) -> Figure:
    """Draw masks over training, one row of panels for each layer.

    From left to right: the mask at up to four moments; the links of each output and of each input,
    sorted, at the first and the last moment; and, over all moments, the share of the initial links
    that are there and the share of links that the moment before did not have.

    Args:
        history: Masks by name, booleans `[out, in]`, by env steps, ascending: at least one moment,
            and at each the same names and shapes.
        title: What stands above it all.
        agents: How many agents' networks the weights of the agent stack.
    """
    env_steps = np.array(list(history))
    layers = {
        name: np.stack([masks[name] for masks in history.values()])
        for name in _choose_layers(next(iter(history.values())))
    }
    grids = {name: _Grid(*masks.shape[1:]) for name, masks in layers.items()}
    chosen = _choose_moments(env_steps)

    pitch = max(grid.width for grid in grids.values()) + _MASK_GAP
    lefts = [_LEFT + i * pitch for i in range(len(chosen))]
    after = _LEFT + len(chosen) * pitch - _MASK_GAP
    lefts += [after + _CURVE_GAP + i * (_CURVE_WIDTH + _CURVE_GAP) for i in range(3)]
    page = _Page(
        width=lefts[-1] + _CURVE_WIDTH + _RIGHT,
        height=_TOP + sum(_ABOVE + grid.height + _BELOW for grid in grids.values()),
    )
    drawn = f"dark: a link; {len(layers)} of {len(next(iter(history.values())))} weights drawn"
    parts = {name: _parts(name, agents) for name in layers}
    _draw_head(page, lefts, title, drawn, env_steps, _legend(layers, agents))
    top = _TOP
    for name, masks in layers.items():
        place = (page, lefts, top + _ABOVE)
        _draw_row(*place, name, grids[name], env_steps, masks, chosen, parts[name])
        top += _ABOVE + grids[name].height + _BELOW
    return page.figure


def _choose_layers(masks: dict[str, np.ndarray]) -> list[str]:
    """Those people look for, or else the largest."""
    largest = sorted(masks, key=lambda name: masks[name].size, reverse=True)
    return [name for name in _LAYERS if name in masks] or largest[: len(_LAYERS)]


def _choose_moments(env_steps: np.ndarray) -> list[int]:
    """Indices of the moments nearest to an even spread over training."""
    wanted = np.linspace(env_steps[0], env_steps[-1], _MOMENTS)
    nearest = np.abs(env_steps[:, None] - wanted).argmin(axis=0)
    return sorted(set(nearest.tolist()))


def _parts(name: str, agents: int) -> list[str]:
    """What the rows of a weight are made of, in equal parts."""
    if agents > 1 and _is_stacked(name):
        return [str(agent) for agent in range(agents)]
    return ["r", "z", "n"] if _is_gru(name) else [""]


def _legend(names: Iterable[str], agents: int) -> str:
    if agents > 1 and any(map(_is_stacked, names)):
        return "numbers: the agents, each with outputs of its own"
    return "r, z, n: the gates of the GRU" if any(map(_is_gru, names)) else ""


def _is_stacked(name: str) -> bool:
    return name.startswith(("agent/", "central_agent/"))


def _is_gru(name: str) -> bool:
    return name.endswith(("w_ih", "w_hh"))


# The page.


class _Page:
    """A white page in pixels, counted from its upper left corner."""

    def __init__(self, width: int, height: int):
        self.width, self.height = width, height
        self.figure = Figure((width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")

    def axes(self, left: int, top: int, width: int, height: int) -> Axes:
        bottom = self.height - top - height
        axes = self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )
        axes.tick_params(labelsize=_SMALL, length=3, width=0.6, color=_GREY, pad=2)
        axes.spines[:].set(linewidth=0.6, color=_GREY)
        return axes

    def text(
        self, left: int, bottom: int, text: str, *, size: float, weight: str = "normal"
    ) -> None:
        x, y = left / self.width, 1 - bottom / self.height
        self.figure.text(x, y, text, fontsize=size, fontweight=weight)

    def legend(self, left: int, bottom: int, colors: dict[str, str]) -> None:
        self.figure.legend(
            handles=[Patch(color=color, label=label) for label, color in colors.items()],
            loc="lower left",
            bbox_to_anchor=(left / self.width, 1 - bottom / self.height),
            fontsize=_SMALL,
            frameon=False,
            borderpad=0,
            borderaxespad=0,
            handlelength=1.2,
            handleheight=0.5,
            handletextpad=0.5,
        )


@dataclass(frozen=True)
class _Grid:
    """How a mask is drawn: in dots of so many links, each of a whole number of pixels.

    Attributes:
        outputs: Rows of the mask.
        inputs: Its columns.
    """

    outputs: int
    inputs: int

    @property
    def block(self) -> tuple[int, int]:
        """The rows and columns of a mask that share a dot: one, unless the mask is huge."""
        return -(-self.outputs // 200), -(-self.inputs // 300)

    @property
    def dots(self) -> tuple[int, int]:
        """Rows and columns of dots."""
        return -(-self.outputs // self.block[0]), -(-self.inputs // self.block[1])

    @property
    def height(self) -> int:
        """Pixels, 172 to 400: a GRU with its three gates may stand out."""
        return self.dots[0] * max(2, 256 // self.dots[0])

    @property
    def width(self) -> int:
        """Pixels, 151 to 300."""
        return self.dots[1] * (300 // self.dots[1])

    def pool(self, masks: np.ndarray) -> np.ndarray:
        """The share of links in each dot, `[moments, *dots]`, of masks `[moments, out, in]`."""
        (rows, columns), (height, width) = self.dots, self.block
        short = (rows * height - self.outputs, columns * width - self.inputs)
        padded = np.pad(masks, ((0, 0), (0, short[0]), (0, short[1])))
        return padded.reshape(-1, rows, height, columns, width).mean(axis=(2, 4))


# What goes on it.


def _draw_head(
    page: _Page,
    lefts: list[int],
    title: str,
    drawn: str,
    env_steps: np.ndarray,
    legend: str,
) -> None:
    page.text(_LEFT, 44, title, size=_LARGE, weight="bold")
    page.text(_LEFT, 79, drawn, size=_SMALL)
    page.text(_LEFT, 104, legend, size=_SMALL)
    first, last = _short(env_steps[0]), _short(env_steps[-1])
    page.legend(lefts[-3], 104, {f"at {first} env steps": _GREY, f"at {last} env steps": _BLUE})
    shares = {"initial links still there": _BLUE, "moved since last snapshot": _ORANGE}
    page.legend(lefts[-1], 104, shares)


def _draw_row(
    page: _Page,
    lefts: list[int],
    top: int,
    name: str,
    grid: _Grid,
    env_steps: np.ndarray,
    masks: np.ndarray,
    chosen: list[int],
    parts: list[str],
) -> None:
    """All panels of one layer, its masks `[moments, out, in]`."""
    heading = (
        f"{name}   {grid.outputs} outputs, {grid.inputs} inputs, density {masks[-1].mean():.1%}"
    )
    if grid.block != (1, 1):
        heading += f", a dot is {grid.block[0]} by {grid.block[1]} links"
    page.text(_LEFT, top - 52, heading, size=_MEDIUM, weight="bold")

    images = grid.pool(masks[chosen])
    for i, image in enumerate(images):
        axes = page.axes(lefts[i], top, grid.width, grid.height)
        _draw_mask(axes, image, grid, images.max() or 1.0, parts, labelled=i == 0)
        axes.set_title(f"{_short(env_steps[chosen[i]])} env steps", fontsize=_SMALL)
    panels = [page.axes(left, top, _CURVE_WIDTH, grid.height) for left in lefts[-3:]]
    _draw_counts(panels[0], masks[0].sum(axis=1), masks[-1].sum(axis=1), "output")
    _draw_counts(panels[1], masks[0].sum(axis=0), masks[-1].sum(axis=0), "input")
    _draw_shares(panels[2], env_steps, masks)


def _draw_mask(
    axes: Axes,
    image: np.ndarray,
    grid: _Grid,
    darkest: float,
    parts: list[str],
    *,
    labelled: bool,
) -> None:
    """One mask, its rows in equal parts. Dark is a link, or the most crowded dot of the row."""
    rows, columns = grid.dots[0] * grid.block[0], grid.dots[1] * grid.block[1]
    axes.imshow(
        image,
        cmap="Greys",
        # On a linear scale a single link of a shared dot would be too faint.
        norm=PowerNorm(0.5, vmin=0, vmax=darkest),
        extent=(0, columns, rows, 0),
        interpolation="nearest",
        aspect="auto",
        zorder=3,  # Above the frame, which would cover the outermost links.
    )
    axes.spines[:].set_linewidth(0.9)
    bounds = [grid.outputs * i // len(parts) for i in range(len(parts) + 1)]
    for bound in bounds[1:-1]:
        axes.axhline(bound, color=_ORANGE, linewidth=0.6, zorder=4)
    axes.set_xticks([0, grid.inputs] if labelled else [])
    axes.set_yticks(([0, grid.outputs] if parts[3:] else bounds) if labelled else [])
    if labelled:
        axes.set_xlabel("inputs", fontsize=_SMALL)
        axes.set_ylabel("outputs", fontsize=_SMALL)
    if labelled and parts[1:]:
        middles = [(a + b) / 2 for a, b in itertools.pairwise(bounds)]
        axes.set_yticks(middles, labels=parts, minor=True)
        axes.tick_params(axis="y", which="minor", length=0, labelsize=_MEDIUM, labelcolor=_ORANGE)


def _draw_counts(axes: Axes, first: np.ndarray, last: np.ndarray, kind: str) -> None:
    """The links of each neuron, most first."""
    axes.stairs(np.sort(first)[::-1], color=_GREY, linewidth=1.0, baseline=None)
    axes.stairs(np.sort(last)[::-1], color=_BLUE, linewidth=1.6, baseline=None)
    axes.set_xlim(0, len(first))
    axes.set_ylim(0, 1.08 * max(first.max(), last.max(), 1))
    axes.set_xticks([0, len(first)])
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
    axes.set_xlabel(f"{kind}s, sorted", fontsize=_SMALL)
    _style_curves(axes, f"links per {kind}")


def _draw_shares(axes: Axes, env_steps: np.ndarray, masks: np.ndarray) -> None:
    """The share of the first links that are there, and of links that were not there before."""
    kept = (masks & masks[0]).sum((1, 2)) / max(masks[0].sum(), 1)
    links = np.maximum(masks[1:].sum((1, 2)), 1)
    moved = (masks[1:] & ~masks[:-1]).sum((1, 2)) / links
    # Dots tell few moments apart; many would only thicken the line.
    dots = "o" if len(env_steps) <= 30 else ""
    for x, y, color in ((env_steps, kept, _BLUE), (env_steps[1:], moved, _ORANGE)):
        axes.plot(x, y, color=color, linewidth=1.4, marker=dots, markersize=2.4, clip_on=False)
    axes.set_xlim(env_steps[0], max(env_steps[-1], env_steps[0] + 1))
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("env steps", fontsize=_SMALL)
    _style_curves(axes, "share of links")


def _style_curves(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=_SMALL)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=_GREY, alpha=0.25, linewidth=0.5)
    axes.set_axisbelow(True)


def _short(env_steps: float) -> str:
    """E.g. `0`, `500k`, `1.25M`."""
    return EngFormatter(sep="")(float(f"{env_steps:.3g}"))
