from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from convlens.errors import InputError
from convlens.figures import save_png


def test_pictures_arrays_and_plots_are_written(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    for name, picture in {"array": pixels, "image": Image.fromarray(pixels)}.items():
        path = save_png(picture, tmp_path / "new" / "folder" / f"{name}.png")
        assert np.array_equal(np.asarray(Image.open(path)), pixels)
    plot = save_png(Figure(figsize=(2, 1)), tmp_path / "plot.png")
    assert Image.open(plot).size == (320, 160)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["array.png", "image.png", "plot.png"]


def test_a_failure_leaves_the_old_picture_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = save_png(np.zeros((2, 2, 3), np.uint8), tmp_path / "a.png")
    before = path.read_bytes()

    def half(self: Image.Image, file: Path, **options: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("interrupted")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="interrupted"):
        save_png(np.ones((2, 2, 3), np.uint8), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_other_names_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"ends in \.png"):
        save_png(np.zeros((2, 2, 3), np.uint8), tmp_path / "a.jpg")
