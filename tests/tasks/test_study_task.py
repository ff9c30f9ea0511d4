import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from convlens.errors import InputError
from convlens.systems import Classifier
from convlens.tasks.study import Directories, PartSettings, is_reusable, repetitions, shared_overrides

QUICK = ("data.source.train=48", "data.source.test=24", "model.net.width=0.1", "recipe.max_epochs=1", "callbacks=none")
DEFAULT_PARTS = [
    *("train alexnet", "train zfnet", "project alexnet", "project zfnet"),
    *("diagnose alexnet", "diagnose zfnet", "diagnose both"),
    *(f"{what} {name}" for what in ("occlude", "transform", "correspond") for name in ("alexnet", "zfnet")),
    "compare",
]
PARTS = ["train alexnet", "train zfnet", "project zfnet", "diagnose zfnet", "compare"]


def read(study: Path) -> dict:
    return json.loads((study / "study.json").read_text())


def statuses(study: Path) -> dict[str, str]:
    return {part["name"]: part["status"] for part in read(study)["parts"]}


def part(name: str, run: str, *overrides: str, result: str | None = None) -> str:
    """A part of a study as it is typed."""
    given = ",".join(f'"{override}"' for override in overrides)
    return f"{{name:{name},run:{run},overrides:[{given}]" + (f",result:{result}}}" if result else "}")


def of_each_kind() -> str:
    """The default study with fewer analyses, each of them small."""
    parts = [part(f"train {name}", name, "task=train", f"model={name}") for name in ("alexnet", "zfnet")]
    few = ("task.maps=1", "task.k=1")
    parts.append(part("project zfnet", "zfnet", "task=project", "run={zfnet}", *few, result="projections"))
    parts.append(part("diagnose zfnet", "zfnet", "task=diagnose", "run={zfnet}", "task.images=2", result="filters"))
    parts.append(part("compare", "compare", "task=compare", "task.run_dirs=[{alexnet},{zfnet}]", result="compare"))
    return f"task.parts=[{','.join(parts)}]"


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, convlens_in: Callable) -> tuple[Path, Any]:
    """A study with a part of each kind, which nobody changes."""
    folder = tmp_path_factory.mktemp("whole")
    return folder / "a study", convlens_in(folder, "task=study", *QUICK, of_each_kind(), "run_dir=a study")


# ---- a whole study ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_default_study_does_all_its_parts(convlens, tmp_path):
    outcome = convlens("task=study", *QUICK, "run_dir=study")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert statuses(tmp_path / "study") == dict.fromkeys(DEFAULT_PARTS, "finished")
    page = (tmp_path / "study" / "report.html").read_text()
    assert all(name in page for name in DEFAULT_PARTS)


@pytest.mark.essential
def test_all_parts_finish_and_the_report_is_the_last_line(whole):
    study, outcome = whole
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert statuses(study) == dict.fromkeys(PARTS, "finished")
    said = outcome.out.splitlines()
    assert said[0] == "[1/5] train alexnet"
    assert said[-1] == f"report: {study / 'report.html'}"
    page = (study / "report.html").read_text()
    assert all(name in page for name in PARTS)


@pytest.mark.essential
def test_the_parts_were_given_the_studys_settings_and_those_of_their_own(whole):
    study, _ = whole
    for name, results in (("alexnet", set()), ("zfnet", {"projections", "filters"})):
        config = yaml.safe_load((study / name / "config.yaml").read_text())
        assert (config["model"]["net"]["width"], config["model"]["name"]) == (0.1, name)
        assert json.loads((study / name / "metrics.json").read_text())["epochs"] == 1
        assert {path.parent.name for path in (study / name).glob("results/*/result.json")} == results
    result = json.loads((study / "compare/results/compare/result.json").read_text())
    assert result["title"] == "alexnet against zfnet"


@pytest.mark.essential
def test_the_record_names_each_parts_command_and_time(whole):
    study, _ = whole
    record = read(study)
    assert record["title"] == "AlexNet and ZFNet, trained and explained"
    assert record["command"].startswith("convlens task=study data.source.train=48")
    for item in record["parts"]:
        assert item["command"].startswith("convlens data.source.train=48")
        assert item["error"] is item["traceback"] is None
        assert item["run"] in ("alexnet", "zfnet", "compare")
    train = record["parts"][0]
    typed = shlex.split(train["command"])
    assert {"task=train", "model=alexnet", "run_dir='a study/alexnet'", "job_name=alexnet"} <= set(typed)
    assert train["seconds"] > 0


@pytest.mark.essential
def test_a_second_time_everything_is_reused_and_that_is_said(convlens, whole, tmp_path):
    study = tmp_path / "a study"
    shutil.copytree(whole[0], study)
    seconds = [item["seconds"] for item in read(study)["parts"]]
    outcome = convlens("task=study", *QUICK, of_each_kind(), "run_dir=a study")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert statuses(study) == dict.fromkeys(PARTS, "reused")
    assert [item["seconds"] for item in read(study)["parts"]] == seconds  # what it took, not the look
    assert "epoch 1/" not in outcome.out
    said = "5 of 5 parts were finished before and reused (force=true repeats them)"
    assert said in outcome.out.splitlines()


# ---- parts that fail --------------------------------------------------------------------------------------------


def test_a_part_that_fails_is_shown_as_failed_and_the_rest_goes_on(convlens, tmp_path):
    parts = [
        part("bad epochs", "bad", "task=train", "recipe.max_epochs=0"),
        part("bad word", "worse", "task=train", "recipe.max_epoch=1"),
        part("good one", "good", "task=train"),
        part("lost", "lost", "task=project", "run=nowhere", result="projections"),
    ]
    outcome = convlens("task=study", *QUICK, f"task.parts=[{','.join(parts)}]", "run_dir=study")
    assert outcome.code == 1
    assert outcome.err == ""
    study = tmp_path / "study"
    assert statuses(study) == {"bad epochs": "failed", "bad word": "failed", "good one": "finished", "lost": "failed"}
    errors = {item["name"]: item["error"] for item in read(study)["parts"]}
    assert errors["bad epochs"] == "recipe.max_epochs=0: give a whole number of at least 1"
    assert errors["bad word"].startswith(
        "recipe.max_epoch=1: there is no max_epoch in recipe: did you mean max_epochs?"
    )
    assert errors["good one"] is None
    assert errors["lost"].startswith("nowhere is not a run directory")
    assert [item["traceback"] for item in read(study)["parts"]] == [None] * 4  # all of these are the user's to mend
    assert "3 of 4 parts failed: bad epochs, bad word, lost" in outcome.out
    page = (study / "report.html").read_text()
    assert errors["lost"] in page
    assert (study / "good" / "metrics.json").exists()


def test_a_failure_that_is_not_the_users_keeps_its_traceback(convlens, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("the pen is empty")

    monkeypatch.setattr(Classifier, "training_step", fail)
    parts = part("one", "one", "task=train")
    assert convlens("task=study", *QUICK, f"task.parts=[{parts}]", "run_dir=study").code == 1
    (item,) = read(tmp_path / "study")["parts"]
    assert (item["status"], item["error"]) == ("failed", "the pen is empty")
    assert "in fail" in item["traceback"]
    monkeypatch.undo()
    assert convlens("task=study", *QUICK, f"task.parts=[{parts}]", "run_dir=study").code == 0
    assert statuses(tmp_path / "study") == {"one": "finished"}  # tried again, not reused


# ---- several seeds ----------------------------------------------------------------------------------------------


def test_a_part_is_repeated_for_each_seed_under_a_name_of_its_own():
    part = PartSettings("clip", "clipped", ["task=train"], each_seed=True)
    assert repetitions(part, [0, 7]) == [
        PartSettings("clip, seed 0", "clipped-0", ["task=train", "seed=0"], each_seed=True),
        PartSettings("clip, seed 7", "clipped-7", ["task=train", "seed=7"], each_seed=True),
    ]
    once = PartSettings("clip", "clipped", ["task=train"])
    assert repetitions(once, [0, 7]) == [once]
    with pytest.raises(InputError, match=r"task.seeds is empty: give seeds of 'clip', such as \[0,1,2\]"):
        repetitions(part, [])


@pytest.mark.slow  # seven jobs: about 15 s
def test_filters_are_clipped_or_not_with_three_seeds_and_claim_16_is_decided(convlens, tmp_path):
    few = ("task.seeds=[0,1,2]", "recipe.max_filter_rms=0.0002")
    outcome = convlens("experiment=filter_clipping", *QUICK, *few, "run_dir=study")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    parts = [f"{kind} clipping, seed {seed}" for kind in ("without", "with") for seed in (0, 1, 2)]
    assert statuses(tmp_path / "study") == dict.fromkeys([*parts, "diagnose all"], "finished")
    result = json.loads((tmp_path / "study/diagnosis/results/filters/result.json").read_text())
    (claim,) = result["claims"]
    assert (claim["number"], claim["units"]) == (16, 3)
    assert claim["verdict"] in ("supports", "no effect")  # after one epoch no filter dominates
    assert claim["value"] > 0
    assert claim["about"] == "alexnet 11x11/4: 3 without clipping, 3 clipped at 0.0002"
    assert claim["controls"]["strongest filter with clipping"] == "1.00 times the median"


# ---- what is handed to the parts --------------------------------------------------------------------------------

SCALE = ["model.net.width=0.5", "recipe.max_epochs=8"]
TRAINS = [PartSettings(f"train {name}", name, ["task=train", f"model={name}"]) for name in ("alexnet", "zfnet")]


def test_what_is_typed_goes_before_the_scale_of_the_default_study():
    assert shared_overrides(["task=study", "seed=1"], SCALE, TRAINS) == [*SCALE, "seed=1"]
    assert shared_overrides(["task=study", "recipe.max_epochs=2"], SCALE, TRAINS) == [SCALE[0], "recipe.max_epochs=2"]
    assert shared_overrides(["experiment=smoke"], SCALE, TRAINS) == ["experiment=smoke"]


def test_what_belongs_to_the_study_alone_is_not_handed_on():
    typed = ["task=study", "task.title=mine", "run_dir=here", "job_name=x", "+trainer.precision=32"]
    assert shared_overrides(typed, [], TRAINS) == ["+trainer.precision=32"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("task.parts=[]", "task.parts is empty: give at least one, such as {name: a, run: a"),
        (
            "task.scale=['recipe.max_epoch=3']",
            "recipe.max_epoch=3: there is no max_epoch in recipe: did you mean max",
        ),
        ("task.scale=['recipe.max_epochs=abc']", "recipe.max_epochs=abc: give a whole number of at least 1"),
    ],
)
def test_what_would_fail_all_parts_is_refused_before_the_first(refused, tmp_path, override, said):
    assert refused("task=study", override).startswith(said)
    assert not list(tmp_path.iterdir())


def test_a_study_whose_parts_name_networks_does_not_take_a_model():
    with pytest.raises(InputError, match="task=study trains alexnet and zfnet itself: leave out model="):
        shared_overrides(["model=alexnet"], SCALE, TRAINS)
    any_network = [PartSettings("train", "network", ["task=train"])]
    assert shared_overrides(["model=alexnet"], [], any_network) == ["model=alexnet"]


def test_the_directories_of_parts_and_their_files_are_named_in_overrides():
    named = {"plain": Directories([Path("out/plain")]), "other": Directories([Path("a study/it's")])}
    assert "run={plain}".format_map(named) == "run=out/plain"
    assert "x={plain:results/a.txt}".format_map(named) == "x=out/plain/results/a.txt"
    assert "x={other:a.txt}".format_map(named) == "x='a study/it\\'s/a.txt'"


# ---- which parts are reused --------------------------------------------------------------------------------------


def test_a_result_whose_folder_has_the_name_of_the_data_is_found_by_its_pattern(tmp_path):
    transfer = PartSettings("transfer", "net", [], result="transfer_*")
    before = {"command": "convlens x", "status": "finished"}
    assert not is_reusable(tmp_path, transfer, "convlens x", before)
    for name, command in (("transfer_zoo", "convlens y"), ("transfer_pets", "convlens x")):
        folder = tmp_path / "results" / name
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps({"command": command}))
    assert is_reusable(tmp_path, transfer, "convlens x", before)
    assert not is_reusable(tmp_path, transfer, "convlens z", before | {"command": "convlens z"})
    assert not is_reusable(tmp_path, transfer, "convlens x", before | {"status": "failed"})
