"""Masks on disk and in the picture: what was saved comes back, and what is drawn is the masks."""

import os
import stat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from safetensors.numpy import save

from sparl.errors import SparlError
from sparl.study import mask_figure
from sparl.train.masks import load_masks, save_masks

LAYERS = {
    "agent/fc1/w": (6, 11),
    "agent/rnn/w_ih": (9, 3),
    "agent/rnn/w_hh": (9, 3),
    "agent/fc2/w": (5, 3),
    "mixer/hyper_w1/0/w": (4, 17),
}


def draw_masks(shapes, seed=0, density=0.3):
    rng = np.random.default_rng(seed)
    return {name: rng.random(shape) < density for name, shape in shapes.items()}


def nested(masks):
    """The tree that `by_name` flattens to `masks`."""
    tree = {}
    for name, mask in masks.items():
        *folders, last = name.split("/")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[last] = mask
    return tree


# On disk.


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "topology"


def write(folder, *env_steps, seeds=2):
    shapes = {name: (seeds, *shape) for name, shape in LAYERS.items()}
    history = {n: draw_masks(shapes, seed=n) for n in env_steps}
    for n, masks in history.items():
        save_masks(folder, n, nested(masks))
    return history


def require_equal(found, expected):
    assert list(found) == sorted(expected)
    for n, masks in expected.items():
        assert found[n].keys() == masks.keys()
        for name, mask in masks.items():
            assert found[n][name].dtype == bool
            np.testing.assert_array_equal(found[n][name], mask)


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 26)),
    seed=st.integers(0, 99),
    transposed=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_masks_come_back(tmp_path_factory, shape, seed, transposed):
    folder = tmp_path_factory.mktemp("run") / "topology"
    mask = draw_masks({"w": shape}, seed)["w"]
    stored = np.asfortranarray(mask) if transposed else mask
    save_masks(folder, 1, {"w": stored})
    require_equal(load_masks(folder), {1: {"w": mask}})


def test_moments_come_back_in_order(folder):
    history = write(folder, 30, 0, 200_000, 1_000_000)
    require_equal(load_masks(folder), history)


def test_a_moment_written_again_is_the_newer(folder):
    write(folder, 5)
    mask = np.ones((1, 2, 3), bool)
    save_masks(folder, 5, {"w": mask})
    require_equal(load_masks(folder), {5: {"w": mask}})
    assert [path.name for path in folder.iterdir()] == ["000000000005.safetensors"]


def test_no_masks(folder):
    assert load_masks(folder) == {}
    save_masks(folder, 0, {"agent": {"fc1": {"w": None}}})
    assert not folder.exists()


def test_what_a_killed_process_left_is_passed_over(folder):
    history = write(folder, 0)
    (folder / "000000000007.tmp").write_bytes(b"half")
    require_equal(load_masks(folder), history)


def test_the_umask_decides_who_reads(folder):
    before = os.umask(0o027)
    try:
        write(folder, 0)
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "000000000000.safetensors").stat().st_mode) == 0o640


def test_masks_that_cannot_be_written(folder, monkeypatch):
    folder.write_text("in the way")
    with pytest.raises(
        SparlError, match=r"could not write .*000000000000\.safetensors: File exists"
    ):
        write(folder, 0)
    folder.unlink()
    # A folder in the way of the file: the temporary one is cleaned up.
    (folder / "000000000000.safetensors").mkdir(parents=True)
    with pytest.raises(SparlError, match="Is a directory; mend that and run `sparl resume`"):
        write(folder, 0)
    assert len(list(folder.iterdir())) == 1


U8 = np.zeros((2, 4, 3), np.uint8)
FOREIGN = {
    "empty": (b"", "header too small"),
    "text": (b"some words, not tensors", "header too large"),
    "no tensors": (save({}), "holds \\[\\]"),
    "no widths": (save({"w": U8}), "widths for \\[\\]"),
    "other widths": (save({"w": U8}, {"v": "17"}), "widths for \\['v'\\]"),
    "floats": (save({"w": np.zeros((2, 4, 3), np.float32)}, {"w": "17"}), "w is F32"),
    "a matrix": (save({"w": U8[0]}, {"w": "17"}), "w is U8 \\[4, 3\\]"),
    "a scalar": (save({"w": np.array(0, np.uint8)}, {"w": "17"}), "w is U8 \\[\\]"),
    "no seeds": (save({"w": U8[:0]}, {"w": "17"}), "w is U8 \\[0, 4, 3\\]"),
    "too narrow": (save({"w": U8}, {"w": "16"}), "3 bytes a row, which cannot be '16'"),
    "too wide": (save({"w": U8}, {"w": "25"}), "3 bytes a row, which cannot be '25'"),
    "negative": (save({"w": U8}, {"w": "-17"}), "cannot be '-17'"),
    "word": (save({"w": U8}, {"w": "wide"}), "cannot be 'wide'"),
    "long": (save({"w": U8}, {"w": "9" * 9000}), "cannot be '999"),
    "padding": (save({"w": U8 + 1}, {"w": "17"}), "links beyond its 17 inputs"),
    "seeds": (save({"v": U8, "w": U8[:1]}, {"v": "17", "w": "17"}), "numbers of seeds"),
    "another run": (save({"w": U8}, {"w": "17"}), "differs from the first file in agent/fc1/w, "),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_named(folder, kind):
    write(folder, 0)
    data, reason = FOREIGN[kind]
    path = folder / "000000000010.safetensors"
    path.write_bytes(data)
    with pytest.raises(SparlError, match=f"^{path} is damaged or .*{reason}.*; remove that file"):
        load_masks(folder)
    path.unlink()
    assert list(load_masks(folder)) == [0]


@pytest.mark.parametrize(
    "name", ["10", "masks", "0000000000100", "00000000001x", "\N{ARABIC-INDIC DIGIT ZERO}" * 12]
)
def test_a_foreign_name_is_refused(folder, name):
    write(folder, 0)
    path = folder / "000000000000.safetensors"
    path.with_name(f"{name}.safetensors").write_bytes(path.read_bytes())
    with pytest.raises(SparlError, match=f"{name}.safetensors .*its name is not twelve digits"):
        load_masks(folder)


@given(cut=st.integers(1, 10_000), flips=st.lists(st.integers(0, 10_000), max_size=3))
@settings(max_examples=150, deadline=None)
def test_damage_is_reported_or_harmless(tmp_path_factory, cut, flips):
    folder = tmp_path_factory.mktemp("run") / "topology"
    history = write(folder, 0)
    path = folder / "000000000000.safetensors"
    data = bytearray(path.read_bytes())
    for place in flips:
        data[place % len(data)] ^= 0x11
    path.write_bytes(data if flips else data[: -(1 + cut % len(data))])
    try:
        found = load_masks(folder)[0]
    except SparlError as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    # Some flips make other links or names, but none makes anything else than masks.
    assert flips
    assert len(found) == len(history[0])
    assert all(mask.dtype == bool and mask.ndim == 3 for mask in found.values())


def test_what_cannot_be_read_is_not_called_damaged(folder):
    (folder / "000000000000.safetensors").mkdir(parents=True)
    with pytest.raises(
        SparlError, match=r"could not read .*000000000000\.safetensors: .*mend that"
    ):
        load_masks(folder)
    (file := folder.parent / "file").write_text("no folder")
    with pytest.raises(SparlError, match=r"could not read .*file: Not a directory"):
        load_masks(file)


# In the picture.


def make_history(env_steps, shapes=LAYERS, density=0.3):
    return {n: draw_masks(shapes, seed=n, density=density) for n in env_steps}


def rows_of(figure, moments):
    """The axes of each layer: its masks, and its three panels of curves."""
    width = moments + 3
    return [figure.axes[i : i + width] for i in range(0, len(figure.axes), width)]


@pytest.mark.parametrize(
    ("env_steps", "shown"),
    [
        ([0], [0]),
        ([0, 500], [0, 500]),
        (range(0, 2_000_001, 50_000), [0, 650_000, 1_350_000, 2_000_000]),
        ([0, 10, 20, 900, 1000], [0, 20, 900, 1000]),
    ],
)
def test_every_panel_shows_the_masks(env_steps, shown):
    history = make_history(env_steps)
    figure = mask_figure.draw(history, title="a title")
    names = ["agent/fc1/w", "agent/rnn/w_ih", "agent/rnn/w_hh", "mixer/hyper_w1/0/w"]
    rows = rows_of(figure, len(shown))
    assert len(rows) == len(names)
    steps = list(history)
    for name, axes in zip(names, rows, strict=True):
        masks = np.stack([moment[name] for moment in history.values()])
        for i, n in enumerate(shown):
            np.testing.assert_array_equal(axes[i].images[0].get_array(), history[n][name])
        for panel, axis in ((axes[-3], 1), (axes[-2], 0)):
            for curve, mask in zip(panel.patches, (masks[0], masks[-1]), strict=True):
                expected = sorted(mask.sum(axis), reverse=True)
                np.testing.assert_array_equal(curve.get_data().values, expected)
        kept, moved = axes[-1].lines
        links = masks.sum((1, 2))
        np.testing.assert_array_equal(kept.get_xdata(), steps)
        np.testing.assert_allclose(
            kept.get_ydata(), [(masks[0] & mask).sum() / links[0] for mask in masks]
        )
        np.testing.assert_array_equal(moved.get_xdata(), steps[1:])
        np.testing.assert_allclose(
            moved.get_ydata(),
            [1 - (masks[i] & masks[i - 1]).sum() / links[i] for i in range(1, len(steps))],
        )
    texts = [text.get_text() for text in figure.texts]
    assert texts[0] == "a title"
    assert [text.split()[0] for text in texts[-len(names) :]] == names


def rows_apart(axes):
    """Where lines cut a mask, and what its parts are called."""
    cuts = [line.get_ydata()[0] for line in axes.lines]
    return cuts, [label.get_text() for label in axes.get_yticklabels(minor=True)]


def test_rows_are_told_apart_by_gate_or_by_agent():
    shapes = {"agent/fc1/w": (24, 5), "agent/rnn/w_hh": (48, 4), "mixer/hyper_w1/0/w": (6, 3)}
    history = make_history([0], shapes)
    fc1, gru, mixer = (row[0] for row in rows_of(mask_figure.draw(history, title=""), 1))
    assert rows_apart(fc1) == ([], [])
    assert rows_apart(gru) == ([16, 32], ["r", "z", "n"])
    own = mask_figure.draw(history, title="", agents=4)
    fc1, gru, mixer = (row[0] for row in rows_of(own, 1))
    assert rows_apart(fc1) == ([6, 12, 18], ["0", "1", "2", "3"])
    assert rows_apart(gru) == ([12, 24, 36], ["0", "1", "2", "3"])
    assert rows_apart(mixer) == ([], [])
    assert any("the agents" in text.get_text() for text in own.texts)


def test_moments_are_titled_in_short():
    figure = mask_figure.draw(make_history([0, 1000, 500_200, 1_000_000, 1_500_000]), title="")
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert titles == [f"{n} env steps" for n in ("0", "500k", "1M", "1.5M")]


def test_gates_are_marked_where_there_are_gates():
    figure = mask_figure.draw(make_history([0, 1]), title="")
    plain, gated, _, _ = rows_of(figure, 2)
    assert [len(axes.lines) for axes in plain[:2]] == [0, 0]
    for axes in gated[:2]:
        assert [line.get_ydata()[0] for line in axes.lines] == [3, 6]
    labels = gated[0].yaxis.get_ticklabels(minor=True)
    assert [label.get_text() for label in labels] == ["r", "z", "n"]


def test_without_the_usual_layers_the_largest_are_drawn():
    shapes = {f"q/{i}/w": (3, 2 + i) for i in range(6)}
    history = make_history([0, 10], shapes)
    rows = rows_of(mask_figure.draw(history, title=""), 2)
    assert len(rows) == 4
    for i, axes in zip((5, 4, 3, 2), rows, strict=True):
        np.testing.assert_array_equal(axes[1].images[0].get_array(), history[10][f"q/{i}/w"])


@pytest.mark.parametrize(
    ("shape", "block"),
    [
        ((64, 86), (1, 1)),
        ((7, 1), (1, 1)),
        ((192, 64), (1, 1)),
        ((200, 300), (1, 1)),
        ((128, 301), (1, 2)),
        ((450, 700), (3, 3)),
    ],
)
def test_every_link_covers_the_same_pixels(shape, block):
    mask = draw_masks({"w": shape}, density=0.05)["w"]
    figure = mask_figure.draw({0: {"w": mask}}, title="")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page = np.asarray(canvas.buffer_rgba())[::-1, :, 0]
    left, bottom, right, top = (round(edge) for edge in figure.axes[0].bbox.extents)
    panel = page[bottom:top, left:right][::-1]

    dots = np.zeros([-(-n // b) for n, b in zip(shape, block, strict=True)], bool)
    for row, column in np.argwhere(mask):
        dots[row // block[0], column // block[1]] = True
    scale = [pixels // n for pixels, n in zip(panel.shape, dots.shape, strict=True)]
    np.testing.assert_array_equal(panel < 250, np.kron(dots, np.ones(scale, bool)))
    assert panel.min() == 0
    assert panel.shape[0] <= 400
    assert panel.shape[1] <= 300


def texts_of(figure):
    """All that is written on the page."""
    yield from figure.texts
    for legend in figure.legends:
        yield from legend.texts
    for axes in figure.axes:
        yield from (axes.title, axes.xaxis.label, axes.yaxis.label)
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if low <= tick.get_loc() <= high:  # Those beyond are not drawn.
                    yield tick.label1


@pytest.mark.parametrize("env_steps", [[0], [0, 50_000], range(0, 2_000_001, 100_000)])
def test_no_text_overlaps_or_leaves_the_page(env_steps):
    shapes = {
        "agent/fc1/w": (64, 151),
        "agent/rnn/w_ih": (192, 64),
        "mixer/hyper_w1/0/w": (64, 1171),
    }
    figure = mask_figure.draw(make_history(env_steps, shapes), title="vdn on smax:27m_vs_30m")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [text for text in texts_of(figure) if text.get_text()]
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in texts]
    assert len(boxes) > 60
    page = figure.bbox
    for i, box in enumerate(boxes):
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1
        assert [texts[j].get_text() for j in range(i) if box.overlaps(boxes[j])] == []


@pytest.mark.parametrize("env_steps", [[0], [0, 10], range(100)])
def test_the_picture_is_written(tmp_path, env_steps):
    history, path = make_history(env_steps), tmp_path / "masks.png"
    mask_figure.save(history, path, title="first")
    mask_figure.save(history, path, title="second")
    assert imread(path).shape[0] > 1000
    assert list(tmp_path.iterdir()) == [path]


def test_layers_without_links_and_a_dense_one(tmp_path):
    history = {
        n: {"none": np.zeros((4, 5), bool), "all": np.ones((4, 5), bool)} for n in (0, 10, 20)
    }
    mask_figure.save(history, tmp_path / "masks.png", title="")
    rows = rows_of(mask_figure.draw(history, title=""), 3)
    shares = [[line.get_ydata().tolist() for line in row[-1].lines] for row in rows]
    assert shares == [[[0, 0, 0], [0, 0]], [[1, 1, 1], [0, 0]]]


def test_a_picture_that_cannot_be_written(tmp_path):
    history = make_history([0])
    with pytest.raises(SparlError, match=r"there is no folder .*nowhere; create it"):
        mask_figure.save(history, tmp_path / "nowhere" / "masks.png", title="")
    with pytest.raises(SparlError, match="Is a directory; mend that or choose another path"):
        mask_figure.save(history, tmp_path, title="")
    assert list(tmp_path.iterdir()) == []
    assert not tmp_path.with_name(f"{tmp_path.name}.tmp").exists()
