import json
from pathlib import Path

import pytest
import yaml

from convlens.errors import InputError
from convlens.runs.conf_files import conf_dir
from convlens.runs.freshness import finished_runs, is_collected, note_collected
from convlens.runs.group_names import names_of, training_names
from convlens.runs.group_table import ablation_errors, differences, group_row
from convlens.runs.groups import ablation_keys, base_of, by_training, find_groups
from tests.runs.finished_runs import make_run


@pytest.fixture
def sweep(tmp_path) -> Path:
    """Two networks, one of them with an ablation, two seeds each; and one run that failed."""
    for model, ablation, error in (("alexnet", "none", 0.5), ("alexnet", "fc_2048", 0.25), ("zfnet", "none", 0.3)):
        for seed in (0, 1):
            folder = tmp_path / f"{model}-{ablation}-{seed}"
            make_run(folder, seed, error + 0.1 * seed, model=model, ablation=ablation)
    failed = tmp_path / "failed"
    failed.mkdir()
    (failed / "run.json").write_text(json.dumps({"task": "train", "status": "failed"}))
    return tmp_path


def test_runs_that_differ_in_the_seed_are_one_group(sweep):
    groups, others = find_groups(sweep)
    assert sorted(names_of(groups)) == ["alexnet", "alexnet, fc_2048", "zfnet"]
    assert [list(group.seeds) for group in groups] == [[0, 1]] * 3
    assert others == {"failed": 1}


@pytest.mark.parametrize(
    ("setting", "first", "second", "count"),
    [
        ("model.net.width", 0.5, 0.50, 1),
        ("model.net.width", 1, 1.0, 1),
        ("model.net.width", 1, True, 2),
        ("model.net.width", 0.5, 0.25, 2),
        ("data.num_workers", 0, 4, 1),  # changes nothing in the result
        ("data.source.seed", 0, 1, 2),  # of the images, not of the run
        ("data.seed", 1, 5, 2),  # set by itself: no longer the run's seed
    ],
)
def test_groups_are_told_apart_by_the_values_of_the_configuration(tmp_path, setting, first, second, count):
    for seed, value in enumerate((first, second)):
        make_run(tmp_path / str(seed), seed, 0.4, **{setting: value})
    groups, _ = find_groups(tmp_path)
    assert len(groups) == count


def test_paths_below_the_data_folder_do_not_tell_groups_apart(tmp_path):
    for seed, folder in enumerate(("data", "/mnt/data")):
        make_run(tmp_path / str(seed), seed, 0.4, **{"data_dir": folder, "data.source.root": f"{folder}/voc"})
    assert len(find_groups(tmp_path)[0]) == 1


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"callbacks": {}}, ["zfnet", "zfnet, callbacks=null"]),
        ({"model.net.width": 0.5}, ["zfnet, model.net.width=1.0", "zfnet, model.net.width=0.5"]),
        # Of settings that always differ together the one with the shortest name.
        (
            {"recipe.max_epochs": 2, "trainer.max_epochs": 2},
            ["zfnet, recipe.max_epochs=10", "zfnet, recipe.max_epochs=2"],
        ),
        ({"recipe.compile": True}, ["zfnet, recipe.compile=null", "zfnet, recipe.compile=true"]),
        ({"data": "tiny"}, ["zfnet, data=parts", "zfnet, data=tiny"]),
        ({"ablation": "wide"}, ["zfnet", "zfnet, wide"]),
    ],
)
def test_names_tell_groups_apart(tmp_path, settings, names):
    make_run(tmp_path / "0", 0, 0.4)
    make_run(tmp_path / "1", 0, 0.4, **settings)
    assert names_of(find_groups(tmp_path)[0]) == names


def test_choices_come_from_the_record_and_the_networks_name_from_the_configuration(tmp_path):
    make_run(tmp_path / "0", 0, 0.1, data="cifar10", **{"model.name": "resnet18"})
    (group,) = find_groups(tmp_path)[0]
    assert dict(group.choices) == {"model": "resnet18", "ablation": "none", "data": "cifar10", "recipe": "modern"}
    assert repr(group) == "Group(model=resnet18, ablation=none, data=cifar10, recipe=modern, seeds=[0])"


def test_a_base_differs_in_nothing_but_what_ablations_set(tmp_path):
    make_run(tmp_path / "wide", 0, 0.4, ablation="wide", **{"model.net.width": 0.5})
    make_run(tmp_path / "other", 0, 0.4)
    groups = find_groups(tmp_path)[0]
    (wide,) = [group for group in groups if group.ablation == "wide"]
    assert base_of(wide, groups) is None
    make_run(tmp_path / "base", 0, 0.4, **{"model.net.width": 0.5})
    groups = find_groups(tmp_path)[0]
    base = base_of(wide, groups)
    assert base is not None
    assert [run.name for run in base.runs] == ["base"]
    assert base_of(base, groups) is None


def test_ablation_keys_are_those_of_the_files():
    files = [yaml.safe_load(file.read_text()) for file in (conf_dir() / "ablation").glob("*.yaml")]
    assert ablation_keys() == {key for content in files for key in content} == {"maps", "removed"}


def test_groups_of_other_data_are_another_part(tmp_path):
    for data in ("parts", "tiny"):
        for model in ("alexnet", "zfnet"):
            make_run(tmp_path / f"{data}-{model}", 0, 0.4, model=model, data=data)
    make_run(tmp_path / "long", 0, 0.4, **{"recipe.max_epochs": 20})
    parts = by_training(find_groups(tmp_path)[0])
    assert [[group.model for group in part] for part in parts] == [
        ["zfnet"],
        ["alexnet", "zfnet"],
        ["alexnet", "zfnet"],
    ]
    assert training_names(parts) == [
        "parts, recipe.max_epochs=20", "parts, recipe.max_epochs=10", "tiny, recipe.max_epochs=10",
    ]  # fmt: skip


def test_differences_are_those_of_runs_on_the_same_images(sweep):
    for seed in (0, 1):
        make_run(sweep / f"wide{seed}", seed, 0.1, images="others", ablation="wide")
    groups = find_groups(sweep)[0]
    found = {f"{group.model} {group.ablation}": gap for group, gap in differences(groups)}
    assert list(found) == ["alexnet fc_2048"]
    assert found["alexnet fc_2048"].value == pytest.approx(-25)
    row = group_row("a", groups[0], None)
    assert (row["minus base value"], row["seeds"]) == (None, 2)


def test_training_images_may_differ_between_seeds(sweep):
    for folder in sweep.glob("*-1"):
        make_run(folder / "again", 1, 0.3, images="others")
        (folder / "again/results/train_eval/predictions.npz").replace(folder / "results/train_eval/predictions.npz")
        (folder / "again/run.json").unlink()
    errors = ablation_errors(find_groups(sweep)[0])["alexnet"]
    assert [list(errors.train_eval[name]) for name in ("none", "fc_2048")] == [[0, 1], [0, 1]]
    assert [list(errors.test[name]) for name in ("none", "fc_2048")] == [[0, 1], [0, 1]]
    assert errors.dense_share == 0.75


def test_runs_of_version_0_1_are_read(tmp_path):
    make_run(tmp_path / "old", 0, 0.1, train_split="seen")
    (group,) = find_groups(tmp_path)[0]
    assert group.values("train_eval/top1_error").tolist() == [5.0]
    assert group.wrong("train_eval")[0][1].sum() == 4


def test_runs_that_cannot_be_read_are_counted(sweep):
    (make_run(sweep / "no config", 2, 0.4) / "config.yaml").unlink()
    (make_run(sweep / "no metrics", 3, 0.4) / "metrics.json").unlink()
    odd = make_run(sweep / "odd seed", 4, 0.4) / "config.yaml"
    odd.write_text(odd.read_text().replace("\nseed: 4", "\nseed: abc"))
    make_run(sweep / "zfnet-none-9", 1, 0.4)
    (sweep / "odd").mkdir()
    (sweep / "odd/run.json").write_text("[]")
    groups, others = find_groups(sweep)
    assert [list(group.seeds) for group in groups] == [[0, 1]] * 3
    assert others == {
        "failed": 1,
        "without a configuration, seed or metrics that can be read": 3,
        "of a seed that another run of the same settings has": 1,
    }


def test_a_table_is_up_to_date_only_for_the_runs_it_was_made_of_and_the_loggers_it_was_sent_to(sweep):
    assert not is_collected(sweep, ["csv"])
    before = finished_runs(sweep)
    assert len(before) == 6
    note_collected(sweep, before, ["csv"])
    assert not is_collected(sweep, ["csv"])  # there is no table
    (sweep / "results/collect/table.csv").write_text("")
    assert is_collected(sweep, ["csv"])
    assert not is_collected(sweep, ["csv", "wandb"])
    make_run(sweep / "late", 2, 0.4)
    assert not is_collected(sweep, ["csv"])


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no such folder"):
        find_groups(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no finished training run below it \(none at all\)"):
        find_groups(tmp_path)
