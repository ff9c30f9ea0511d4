"""The test that ends a training: evaluate the best epoch on test images and on as many training images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from torch import nn

from convlens.data import ImageData, ShardedData
from convlens.io.arrays import write_arrays
from convlens.nets.weights import load_weights, read_checkpoint
from convlens.runs.subject import checkpoint_path
from convlens.systems import Classifier

TRAIN_EVAL = "train_eval"
"""Prefix of metrics of training images that are evaluated as the test images are."""


def evaluate_best(
    trainer: L.Trainer, system: Classifier, data: ImageData | ShardedData, run_dir: Path
) -> dict[str, float | int | None]:
    """Test the best epoch, write its predictions, and return the metrics of the run.

    ``train_eval/...`` are the metrics of training images, as many as there are test images. Predictions are written to
    ``results/test`` and ``results/train_eval``.
    """
    best = checkpoint_path(run_dir)
    stored = read_checkpoint(best)
    load_weights(system.net, best)
    metrics: dict[str, float | int | None] = {}
    for name, split, limit in ((TRAIN_EVAL, "train", data.count("test")), ("test", "test", None)):
        system.eval_split, data.eval_split, data.eval_limit = name, split, limit
        results = trainer.test(system, datamodule=data, verbose=False)[0]
        metrics |= {key: value for key, value in results.items() if key.startswith(f"{name}/")}
        indices, labels, top5, probabilities = system.predictions()
        if trainer.is_global_zero:
            images = np.array([data.image_id(split, index) for index in indices.tolist()])
            folder = run_dir / "results" / name
            write_arrays(folder / "predictions.npz", {"labels": labels, "top5": top5, "images": images})
            if name == "test":  # ensembles average them
                write_arrays(folder / "probabilities.npz", {"probabilities": probabilities.astype(np.float16)})
    return metrics | {
        "val/top1_error": validation_error(stored),
        "best_epoch": stored["epoch"] + 1,
        "epochs": trainer.max_epochs,
        **parameter_counts(system.net),
    }


def parameter_counts(net: nn.Module) -> dict[str, int]:
    """Return the number of parameters, and the number of those in convolutions."""
    convolutions = [module for module in net.modules() if isinstance(module, nn.modules.conv._ConvNd)]
    counts = {id(p): p.numel() for module in convolutions for p in module.parameters()}
    return {"parameters": sum(p.numel() for p in net.parameters()), "conv_parameters": sum(counts.values())}


def validation_error(checkpoint: Mapping[str, Any]) -> float | None:
    """Return the top-1 error in percent that a checkpoint was chosen by; None without validation images."""
    states = checkpoint["callbacks"].values()
    scores = [state["best_model_score"] for state in states if "best_model_score" in state]
    return next((float(score) for score in scores if score is not None), None)
