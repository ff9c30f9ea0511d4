import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    if not SHARED.is_dir():
        sets = "Caltech-101, subsets of Tiny-ImageNet, Imagenette and VOC"
        pytest.skip(f"needs images of {sets} in {SHARED}, which are no part of the repository")
    return SHARED


@pytest.fixture
def unchecked() -> Callable[..., Any]:
    """Calls a class or function without the checks of its annotations, as a user does."""

    def call(called: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not isinstance(called, type):
            return inspect.unwrap(called)(*args, **kwargs)
        made = called.__new__(called)
        inspect.unwrap(called.__init__)(made, *args, **kwargs)
        return made

    return call


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    """Random pixels [h, w, 3] that differ from seed to seed."""

    def make(seed: int, width: int = 12, height: int = 12) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)

    return make


@pytest.fixture
def image_tree(noise: Callable[..., np.ndarray]) -> Callable[..., list[Path]]:
    """Writes `count` lossless images into a folder and returns their paths."""

    def make(folder: Path, count: int, seed: int = 0, suffix: str = ".png", size: int = 12) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"image_{i:04d}{suffix}" for i in range(count)]
        for i, path in enumerate(paths):
            Image.fromarray(noise(1000 * seed + i, size, size)).save(path)
        return paths

    return make
