import shutil

import pytest
import torch
from PIL import Image

from convlens.analysis.diagnosis.filter_health import filter_health
from convlens.io.json_files import load_json


def numbers(result: dict) -> dict[str, float]:
    return {number["name"]: number["value"] for number in result["numbers"]}


def test_the_first_filters_of_a_run_are_drawn_and_measured(convlens, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    # One filter four times as strong as it was and one dead one: what the diagnosis is there to find.
    file = run / "checkpoints" / "best.ckpt"
    content = torch.load(file, weights_only=True)
    weight = content["state_dict"]["net.conv1.filter.weight"]
    weight[0] *= 4
    weight[1] = 0
    torch.save(content, file)
    record = load_json(run / "run.json")
    outcome = convlens("task=diagnose", "run=run", "task.images=5")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    folder = run / "results" / "filters"
    result = load_json(folder / "result.json")
    health = filter_health(weight)
    assert numbers(result)["strongest filter's RMS over the median"] == pytest.approx(health.spread, rel=1e-6)
    assert health.spread > 2
    assert numbers(result)["dead filters"] == 12.5  # one of eight
    answer, place = outcome.out.splitlines()[-2:]
    strongest = f"conv1 of zfnet: strongest filter {health.spread:.1f} times the median"
    assert answer.startswith(f"{strongest}, 12.5 % dead filters, ")
    assert answer.endswith(" % dead maps")
    assert place == "results in run/results/filters"
    for figure in result["figures"]:
        with Image.open(folder / figure["file"]) as picture:
            assert min(picture.size) > 10
    after = load_json(run / "run.json")
    assert after | {"files": 0} == record | {"files": 0}


def test_any_network_is_diagnosed_by_the_convolution_that_reads_the_image(convlens, tmp_path):
    options = ("model=torchvision", "model.net.name=squeezenet1_1", "data.source.train=48", "data.source.test=24")
    outcome = convlens("task=diagnose", *options, "task.images=3", "run_dir=here")
    assert outcome.code == 0, outcome
    assert outcome.out.splitlines()[-2].startswith("features.0 of squeezenet1_1: strongest filter ")
    assert load_json(tmp_path / "here" / "run.json")["task"] == "diagnose"
