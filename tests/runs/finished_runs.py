"""Directories of finished training runs with made-up predictions."""

import json
from pathlib import Path

import numpy as np
import yaml

CLASSES, IMAGES = 6, 40
ABLATED = {
    "none": {},
    "fc_2048": {"maps": {"fc6": 2048, "fc7": 2048}},
    "wide": {"maps": {"conv3": 512, "conv4": 1024, "conv5": 512}},
}


def make_run(
    folder: Path,
    seed: int,
    error: float,
    *,
    images: str = "test",
    model: str = "zfnet",
    ablation: str = "none",
    data: str = "parts",
    train_split: str = "train_eval",
    **settings: object,
) -> Path:
    """A finished run whose predictions are wrong for the last images; settings are given by dotted name."""
    rng = np.random.default_rng(seed)
    labels = np.arange(IMAGES) % CLASSES
    wrong = np.arange(IMAGES) >= IMAGES * (1 - error)
    best = np.where(wrong, (labels + 1) % CLASSES, labels)
    scores = rng.random((IMAGES, CLASSES)) * 0.1
    scores[np.arange(IMAGES), best] = 1 + 0.01 * seed
    scores /= scores.sum(1, keepdims=True)
    for split in ("test", train_split):
        results = folder / "results" / split
        results.mkdir(parents=True)
        order = np.argsort(-scores, 1)
        names = np.array([f"{images}/{number}" for number in range(IMAGES)])
        np.savez(results / "predictions.npz", labels=labels, top5=order[:, :5], images=names)
        np.savez(results / "probabilities.npz", probabilities=scores.astype(np.float16))
    numbers = {"test/top1_error": 100 * error, "test/top5_error": 1.0, "val/top1_error": 7.0}
    numbers |= {f"{train_split}/top1_error": 5.0, "parameters": 2_000_000, "conv_parameters": 500_000}
    (folder / "metrics.json").write_text(json.dumps(numbers))
    choices = {"model": model, "ablation": ablation, "data": data, "recipe": "modern"}
    record = {"task": "train", "status": "finished", "name": folder.name, "choices": choices}
    (folder / "run.json").write_text(json.dumps(record))
    write_config(folder, seed, model, ablation, data, settings)
    return folder


def write_config(folder: Path, seed: object, model: str, ablation: str, data: str, settings: dict[str, object]) -> None:
    """The resolved configuration of a run, as the run writes it."""
    config: dict = {
        "seed": seed,
        "run_dir": str(folder),
        "job_name": folder.name,
        "task": {"_target_": "convlens.tasks.train.run"},
        "model": {"name": model, "net": {"width": 1.0, **ABLATED[ablation]}, "input_mean": "train", "weights": None},
        "data": {"seed": seed, "mean": "train", "source": {"_target_": f"convlens.data.{data}", "seed": 0}},
        "recipe": {"max_epochs": 10},
        "trainer": {"max_epochs": 10, "devices": seed},
        "system": {"seed": seed},
        "callbacks": {"filters": {"epochs": None, "maps": 3}},
    }
    for name, value in settings.items():
        *sections, key = name.split(".")
        node = config
        for section in sections:
            node = node[section]
        node[key] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
