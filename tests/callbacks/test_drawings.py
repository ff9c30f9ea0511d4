"""What the callbacks write while a tiny network is trained, against the snapshots of the same epochs."""

import io
import itertools
import json
import shutil
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from convlens.analysis.diagnosis.filter_health import filter_health
from convlens.analysis.evolution import result as evolution_module
from convlens.analysis.evolution.sampled_activations import sampled_activations
from convlens.analysis.galleries.array_store import read_gallery
from convlens.analysis.galleries.selected_units import select_units
from convlens.analysis.galleries.sheets import TABLE_COLUMNS
from convlens.callbacks import FeatureEvolution, FilterHealthLog, FirstFilters, Snapshots, TopProjections
from convlens.deconv import project
from convlens.figures.filters import filters_sheet
from convlens.loggers.epoch_csv import EpochCSV
from convlens.ops.receptive_field import receptive_field

EPOCHS = [1, 2, 4]
LAYERS = ["conv1", "conv2"]
K = 3


class Modes(L.Callback):
    """Whether the network is in training mode after the callbacks before it."""

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.seen.append(all(module.training for module in pl_module.net.modules()))


@pytest.fixture(scope="module")
def modes() -> Modes:
    return Modes()


@pytest.fixture(scope="module")
def run(train, modes):
    """All callbacks on one run of four epochs."""
    return train(
        [
            Snapshots([1, 2, 3, 4]),
            TopProjections(EPOCHS, maps=None, images=10, k=K),
            FeatureEvolution(EPOCHS, maps=4),
            FirstFilters(EPOCHS),
            FilterHealthLog(),
            modes,
        ],
        loggers=[
            lambda folder: EpochCSV(str(folder)),
            lambda folder: TensorBoardLogger(str(folder), name="", version="tensorboard"),
        ],
    )


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


# ---- snapshots --------------------------------------------------------------------------------------------------


def test_snapshots_hold_the_weights_of_their_epoch_alone(run):
    paths = sorted((run.folder / "checkpoints").iterdir())
    assert [path.name for path in paths] == [f"epoch_{epoch:03d}.ckpt" for epoch in (1, 2, 3, 4)]
    for epoch, path in enumerate(paths):
        content = torch.load(path, weights_only=True)
        assert content["epoch"] == epoch
        assert "optimizer_states" not in content
    states = [run.net_of(epoch).state_dict() for epoch in (1, 2, 3, 4)]
    for earlier, later in itertools.pairwise(states):
        assert not torch.equal(earlier["conv1.filter.weight"], later["conv1.filter.weight"])
    assert all(torch.equal(states[-1][key], value) for key, value in run.net.state_dict().items())


# ---- projections (Fig 2) ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", EPOCHS)
@pytest.mark.parametrize("layer", LAYERS)
def test_projections_are_of_the_strongest_validation_images_of_that_epoch(run, epoch, layer):
    arrays = read_gallery(run.folder / "results" / "projections" / f"epoch_{epoch:03d}", layer)
    found = run.peaks(epoch, layer, "val", 10)
    assert len(found) == 10
    assert arrays["maps"].tolist() == list(range(found.shape[1]))
    for m in arrays["maps"]:
        order = sorted(range(10), key=lambda i: (-float(found[i, m]), i))[:K]
        assert arrays["values"][m].tolist() == pytest.approx(found[order, m].tolist(), rel=1e-4, abs=1e-6)
        alive = arrays["values"][m] > 0
        assert arrays["images"][m][alive].tolist() == [i for i, a in zip(order, alive, strict=True) if a]


@pytest.mark.parametrize("layer", LAYERS)
def test_projections_and_patches_belong_to_their_unit(run, layer):
    arrays = read_gallery(run.folder / "results" / "projections" / "epoch_002", layer)
    net, dataset = run.net_of(2), run.data.dataset("val", "centre", 10)
    field = receptive_field(net, layer, input_size=(run.net.input_size,) * 2)
    place = tuple(int(p) for p in arrays["positions"][0, 0])
    assert arrays["boxes"][0, 0].tolist() == list(field.box(*place))
    image = dataset[int(arrays["images"][0, 0])][0][None]
    whole = project(net, image, layer, [(0, 0, *place)])[0]
    top, left, bottom, right = field.box(*place)
    padded = torch.nn.functional.pad(whole, (40, 40, 40, 40))
    expected = padded[:, top + 40 : bottom + 40, left + 40 : right + 40]
    found = torch.from_numpy(arrays["projections"][0, 0])  # kept as halves of their maximum
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    pixels = torch.nn.functional.pad(run.data.to_display(image)[0], (40, 40, 40, 40), value=128)
    assert np.array_equal(arrays["patches"][0, 0], pixels[:, top + 40 : bottom + 40, left + 40 : right + 40].numpy())


def test_the_result_of_the_projections_is_that_of_the_last_drawn_epoch(run):
    folder = run.folder / "results" / "projections"
    found = result(folder)
    assert (found["analysis"], found["reproduces"]) == ("projections", "Fig 2")
    assert found["figures"] == [
        {"file": f"epoch_004/{layer}.png", "key": layer, "caption": f"{layer}, epoch 4, val images"} for layer in LAYERS
    ]
    assert all((folder / figure["file"]).exists() for figure in found["figures"])
    assert {path.name for path in folder.iterdir()} == {"result.json", *(f"epoch_{e:03d}" for e in EPOCHS)}
    for number, layer in zip(found["numbers"], LAYERS, strict=True):
        share = 100 * float((run.peaks(4, layer, "val", 10).amax(0) <= 0).double().mean())
        assert number == {"name": f"dead maps, {layer}", "value": share, "unit": "%", "spread": None}
    assert found["numbers"][1]["value"] >= 100 / 8


def test_the_table_of_activations_is_logged_at_its_epoch(run):
    logged = run.sketches.under("projections/top")
    assert [epoch for epoch, _ in logged] == EPOCHS
    for epoch, table in logged:
        assert table["columns"] == TABLE_COLUMNS
        arrays = {
            layer: read_gallery(run.folder / "results" / "projections" / f"epoch_{int(epoch):03d}", layer)
            for layer in LAYERS
        }
        expected = [
            [layer, m, r + 1, run.data.image_id("val", int(found["images"][m, r])), float(found["values"][m, r])]
            for layer, found in arrays.items()
            for m in range(len(found["maps"]))
            for r in range(K)
            if found["values"][m, r] > 0
        ]
        assert [[*row[:4], row[5]] for row in table["data"]] == expected
        labels = {run.data.image_id("val", i): run.data.dataset("val").labels[i] for i in range(10)}
        assert all(row[4] == run.data.class_names[int(labels[row[3]])] for row in table["data"])
        assert ["conv2", run.dead] not in [row[:2] for row in table["data"]]
        for row in table["data"]:
            patch = arrays[row[0]]["patches"][row[1], row[2] - 1]
            assert np.array_equal(np.asarray(row[6]), np.moveaxis(patch, 0, -1))
            assert row[7].size == row[6].size
            assert row[8].size == (run.net.input_size, run.net.input_size)


def test_every_logged_picture_is_a_file_of_the_run(run):
    for key, epochs in (
        ("projections/conv1", EPOCHS),
        ("projections/conv2", EPOCHS),
        ("evolution", EPOCHS),
        ("convergence", [4]),  # three epochs are needed
        ("filters", EPOCHS),
    ):
        logged = run.sketches.under(key)
        assert [epoch for epoch, _ in logged] == epochs
        for _, entry in logged:
            (path,) = entry["images"]
            assert Path(path).is_relative_to(run.folder / "results")
            Image.open(path).verify()


# ---- evolution (Fig 4) ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strongest(run) -> dict[str, np.ndarray]:
    """Number of each shown map's strongest training image at each drawn epoch, by looking at all of them."""
    found = {}
    for layer, count in zip(LAYERS, (6, 8), strict=True):
        maps = select_units(count, 4)
        found[layer] = np.stack([run.peaks(epoch, layer, "train").argmax(0)[maps].numpy() for epoch in EPOCHS], 1)
    return found


@pytest.mark.parametrize("epoch", EPOCHS)
@pytest.mark.parametrize("layer", LAYERS)
def test_the_evolution_takes_the_strongest_of_all_training_images_of_that_epoch(run, strongest, epoch, layer):
    arrays = np.load(run.folder / "results" / "evolution" / f"epoch_{epoch:03d}.npz")
    found = run.peaks(epoch, layer, "train")
    maps = arrays[f"{layer}/maps"]
    assert arrays["layers"].tolist() == LAYERS
    assert maps.tolist() == select_units(found.shape[1], 4).tolist()
    assert arrays[f"{layer}/values"][:, 0].tolist() == pytest.approx(found[:, maps].amax(0).tolist(), rel=1e-4)
    assert arrays[f"{layer}/images"][:, 0].tolist() == strongest[layer][:, EPOCHS.index(epoch)].tolist()
    alive = arrays[f"{layer}/values"][:, 0] > 0
    assert arrays[f"{layer}/projections"][alive].any(axis=(1, 2, 3, 4)).all()


def test_the_evolution_marks_where_the_strongest_image_changed(run, strongest, monkeypatch):
    given = {}

    def sheet(projections, epochs, changed, *, maps):
        given.update(projections=projections, epochs=epochs, changed=changed, maps=maps)
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr(evolution_module, "evolution_sheet", sheet)
    monkeypatch.setattr(evolution_module.AnalysisResult, "write", lambda *args: None)
    monkeypatch.setattr(evolution_module, "save_png", lambda picture, path: path)
    evolution_module.write_evolution(run.folder / "results" / "evolution", EPOCHS, range(5))
    assert given["epochs"] == EPOCHS
    for layer in LAYERS:
        for row, images in zip(given["changed"][layer].tolist(), strongest[layer].tolist(), strict=True):
            assert row == [False, images[1] != images[0], images[2] != images[1]]
        for column, epoch in enumerate(EPOCHS):
            arrays = np.load(run.folder / "results" / "evolution" / f"epoch_{epoch:03d}.npz")
            assert np.array_equal(given["projections"][layer][:, column], arrays[f"{layer}/projections"][:, 0])


def test_the_result_of_the_evolution_says_how_often_it_changed(run, strongest):
    found = result(run.folder / "results" / "evolution")
    shares = {layer: 100 * float((images[:, 1:] != images[:, :-1]).mean()) for layer, images in strongest.items()}
    assert all(0 < share < 100 for share in shares.values()), shares  # something to tell apart
    assert found["numbers"] == [
        {
            "name": f"strongest image changed between drawn epochs, {layer}",
            "value": shares[layer],
            "unit": "%",
            "spread": None,
        }
        for layer in LAYERS
    ]
    assert found["figures"] == [
        {"file": "evolution.png", "key": "evolution", "caption": "epochs 1, 2, 4"},
        {"file": "convergence.png", "key": "convergence", "caption": "similarity to epoch 4 by layer"},
    ]
    assert found["reproduces"] == "Fig 4"
    captions = [entry["caption"] for _, entry in run.sketches.under("evolution")]
    assert captions == [["epochs 1"], ["epochs 1, 2"], ["epochs 1, 2, 4"]]


def test_one_epoch_alone_has_no_change_to_count(train):
    one = train([FeatureEvolution([1], layers=["conv1"], maps=2, images=5)], epochs=1)
    assert result(one.folder / "results" / "evolution")["numbers"] == []


def test_what_a_run_drew_before_it_was_begun_again_is_not_its_past(train, tmp_path):
    for _ in range(2):
        again = train([FeatureEvolution([1, 2], layers=["conv1"], maps=2, images=5)], epochs=2, folder=tmp_path)
        captions = [entry["caption"] for _, entry in again.sketches.under("evolution")]
        assert captions == [["epochs 1"], ["epochs 1, 2"]]


# ---- convergence (claims 8 and 9) -------------------------------------------------------------------------------


def test_the_strongest_images_of_all_maps_are_kept(run):
    for epoch, layer in itertools.product(EPOCHS, LAYERS):
        top = np.load(run.folder / "results" / "evolution" / f"epoch_{epoch:03d}.npz")[f"{layer}/top"]
        found = run.peaks(epoch, layer, "train").numpy()
        assert top.shape == (found.shape[1], 9)
        for images, values in zip(top, found.T, strict=True):
            order = sorted(range(len(values)), key=lambda i: (-float(values[i]), i))[:9]
            assert images.tolist() == [image if values[image] > 0 else -1 for image in order]
    assert (top[run.dead] == -1).all()


@pytest.mark.parametrize("layer", LAYERS)
def test_the_former_strongest_image_is_projected_beside_the_new_one(run, layer):
    """By the network of the epoch, where that image activates the map most, and only if another image is stronger."""
    folder, dataset = run.folder / "results" / "evolution", run.data.dataset("train", "centre")
    field, seen = receptive_field(run.net, layer, input_size=(run.net.input_size,) * 2), set()
    former = np.load(folder / "epoch_001.npz")
    assert not former[f"{layer}/kept"].any()
    for epoch in EPOCHS[1:]:
        net, arrays = run.net_of(epoch), np.load(folder / f"epoch_{epoch:03d}.npz")
        for row, number in enumerate(arrays[f"{layer}/maps"].tolist()):
            image, now = (int(file[f"{layer}/images"][row, 0]) for file in (former, arrays))
            kept = torch.from_numpy(arrays[f"{layer}/kept"][row, 0])
            x = dataset[image][0][None]
            steps = [net.get_submodule(name) for name in net.steps[: net.steps.index(layer) + 1]]
            peaks = torch.nn.Sequential(*steps)(x)[0, number]
            place = divmod(int(peaks.argmax()), peaks.shape[1])
            seen.add((image != now, bool(peaks.max() > 0)))
            if image == now or peaks.max() <= 0:
                assert not kept.any()
                continue
            whole = project(net, x, layer, [(0, number, *place)])[0]
            top, left, bottom, right = field.box(*place)
            padded = torch.nn.functional.pad(whole, (40, 40, 40, 40))
            expected = padded[:, top + 40 : bottom + 40, left + 40 : right + 40]
            torch.testing.assert_close(kept, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
        former = arrays
    assert {(True, True), (False, True)} <= seen


def test_the_states_are_those_of_each_epoch_and_before_training(run):
    folder = run.folder / "results" / "evolution" / "states"
    assert sorted(path.name for path in folder.iterdir()) == [f"epoch_{epoch:03d}.npz" for epoch in range(5)]
    dataset = run.data.dataset("train", "centre")
    for epoch in range(1, 5):
        stored = np.load(folder / f"epoch_{epoch:03d}.npz")
        found = sampled_activations(run.net_of(epoch), dataset, LAYERS)
        assert all(np.array_equal(stored[layer], found[layer]) for layer in LAYERS)
    start = sampled_activations(run.net_before(), dataset, LAYERS)
    assert all(np.array_equal(np.load(folder / "epoch_000.npz")[layer], start[layer]) for layer in LAYERS)


def test_the_table_of_convergence_is_that_of_the_states(run):
    (table,) = result(run.folder / "results" / "evolution")["tables"]
    assert [row[0] for row in table["rows"]] == LAYERS
    states = [np.load(run.folder / f"results/evolution/states/epoch_{epoch:03d}.npz") for epoch in range(5)]
    for layer, row in zip(LAYERS, table["rows"], strict=True):
        values = [state[layer].astype(float) for state in states]
        with np.errstate(invalid="ignore"):
            curves = np.array([[np.corrcoef(v[m], values[-1][m])[0, 1] for v in values] for m in range(len(values[0]))])
        learned = np.isfinite(curves[:, -1]) & ~(curves[:, 0] >= 0.95)
        assert row[1] == f"{learned.sum()} of {len(curves)}"
        assert row[4].endswith(", 100")
        assert 0 < float(row[2].split()[0]) <= 4
    assert table["rows"][1][1].startswith("7 ")  # one map of conv2 is dead


def test_the_claims_are_those_that_the_records_allow(run):
    claims = {claim["number"]: claim for claim in result(run.folder / "results" / "evolution")["claims"]}
    assert set(claims) == {9}  # fourteen maps are too few for claim 8
    assert claims[9]["about"] == "conv2"
    assert claims[9]["units"] <= 4
    assert claims[9]["verdict"] == "can't tell"  # at most four maps


def stop_after(epoch: int) -> L.Callback:
    """Stops a run as `EarlyStopping` does."""

    def stop(trainer, pl_module):
        trainer.should_stop = trainer.current_epoch + 1 >= epoch

    return L.pytorch.callbacks.LambdaCallback(on_validation_end=stop)


def test_a_run_that_stops_early_ends_with_its_last_epoch(train):
    found = train([FeatureEvolution(layers=["conv1"], maps=2, images=20), stop_after(4)], epochs=5)
    folder = found.folder / "results" / "evolution"
    assert found.trainer.current_epoch == 4
    assert result(folder)["figures"][0]["caption"] == "epochs 1, 2, 3, 4"
    assert result(folder)["figures"][1]["caption"] == "similarity to epoch 4 by layer"
    assert sorted(path.name for path in (folder / "states").iterdir())[-1] == "epoch_004.npz"
    assert [epoch for epoch, _ in found.sketches.under("evolution")] == [1, 2, 3, 4]


def test_a_run_that_ends_draws_its_last_epoch_once(train):
    found = train([FeatureEvolution(layers=["conv1"], maps=2, images=20)], epochs=3)
    assert [epoch for epoch, _ in found.sketches.under("evolution")] == [1, 2, 3]


def test_chosen_epochs_are_drawn_and_no_others(train):
    chosen = train([FeatureEvolution([2], layers=["conv1"], maps=2, images=20)], epochs=3)
    assert [epoch for epoch, _ in chosen.sketches.under("evolution")] == [2]
    never = train([FeatureEvolution([], layers=["conv1"])], epochs=2)
    assert not (never.folder / "results").exists()


def test_a_record_of_an_older_version_is_drawn_without_its_claims(run, tmp_path):
    """A run that was begun before there were states and continued since."""
    shutil.copytree(run.folder / "results" / "evolution", tmp_path / "evolution")
    for epoch in EPOCHS[:2]:
        path = tmp_path / "evolution" / f"epoch_{epoch:03d}.npz"
        arrays = {name: array for name, array in np.load(path).items() if "/kept" not in name and "/top" not in name}
        np.savez(path, **arrays)
    paths = evolution_module.write_evolution(tmp_path / "evolution", EPOCHS, [3, 4])
    assert [path.name for path in paths] == ["evolution.png"]
    found = result(tmp_path / "evolution")
    assert (found["claims"], found["tables"]) == ([], [])
    evolution_module.write_evolution(tmp_path / "evolution", EPOCHS, [0, 2, 3, 4])
    assert len(result(tmp_path / "evolution")["tables"]) == 1


def test_states_of_a_long_run_are_thinned_out():
    callback, trainer = FeatureEvolution([7, 650]), L.Trainer(max_epochs=700, logger=False, accelerator="cpu")
    found = sorted(callback._states(trainer))
    assert found[:4] == [0, 7, 14, 21]
    assert (len(found), 650 in found, found[-1]) == (102, True, 700)
    assert FeatureEvolution()._states(L.Trainer(max_epochs=-1, logger=False, accelerator="cpu")) >= {0, 1}


# ---- filters ----------------------------------------------------------------------------------------------------


def test_the_first_filters_are_drawn_as_they_were_at_the_epoch(run):
    folder = run.folder / "results" / "filters"
    assert sorted(path.name for path in folder.iterdir()) == [f"epoch_{epoch:03d}.png" for epoch in EPOCHS]
    pictures = []
    for epoch in EPOCHS:
        weight = run.net_of(epoch).filters("conv1").detach()
        sheet = filters_sheet(weight.numpy(), title=f"conv1, epoch {epoch}", dead=filter_health(weight).dead.numpy())
        pictures.append(Image.open(folder / f"epoch_{epoch:03d}.png"))
        assert np.array_equal(np.asarray(pictures[-1].convert("RGB")), np.asarray(sheet.convert("RGB")))
    assert len({picture.tobytes() for picture in pictures}) == 3


def test_the_health_of_the_filters_is_logged_in_every_epoch(run):
    rows = [line.split(",") for line in (run.folder / "metrics.csv").read_text().splitlines()]
    table = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert [row["epoch"] for row in table] == ["1", "2", "3", "4"]
    for epoch, row in enumerate(table, 1):
        for layer in LAYERS:
            rms = run.net_of(epoch).filters(layer).detach().double().square().mean((1, 2, 3)).sqrt().numpy()
            assert float(row[f"filters/{layer}_rms_spread"]) == pytest.approx(rms.max() / np.median(rms), rel=1e-4)
            health = filter_health(run.net_of(epoch).filters(layer))
            assert float(row[f"filters/{layer}_dead_share"]) == pytest.approx(health.dead_share, rel=1e-4)


# ---- loggers ----------------------------------------------------------------------------------------------------


def test_tensorboard_has_the_metrics_and_the_pictures_at_their_epochs(run):
    events = EventAccumulator(str(run.folder / "tensorboard"), size_guidance={"images": 0, "scalars": 0}).Reload()
    rows = (run.folder / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("val/loss")
    assert [event.value for event in events.Scalars("val/loss")] == pytest.approx(
        [float(row.split(",")[column]) for row in rows[1:]], rel=1e-5
    )
    pictures = {"evolution", "convergence", "filters", "projections/conv1", "projections/conv2"}
    assert set(events.Tags()["images"]) == pictures
    for key in pictures:
        assert [event.step for event in events.Images(key)] == (EPOCHS if key != "convergence" else [4])
    for event in events.Images("projections/conv2"):
        path = run.folder / "results" / "projections" / f"epoch_{event.step:03d}" / "conv2.png"
        shown, kept = (Image.open(f).convert("RGB") for f in (io.BytesIO(event.encoded_image_string), path))
        assert np.array_equal(np.asarray(shown), np.asarray(kept))


# ---- the training itself ----------------------------------------------------------------------------------------


def test_training_with_callbacks_is_bit_for_bit_training_without(run, train, modes):
    plain = train()
    assert all(torch.equal(plain.net.state_dict()[key], value) for key, value in run.net.state_dict().items())
    assert modes.seen == [True] * 4
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in run.net.modules())
