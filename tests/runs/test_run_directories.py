import copy
import errno
import json
import os
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from torch import nn

import convlens
from convlens.errors import InputError
from convlens.io.atomic import write_bytes
from convlens.io.json_files import write_json
from convlens.nets import zfnet
from convlens.nets.weights import load_weights
from convlens.runs import subject
from convlens.runs.authorship import is_own
from convlens.runs.compose import register_resolvers
from convlens.runs.conf_files import conf_dir
from convlens.runs.record import check_same, command_line, recorded, status
from convlens.runs.record_file import write_record
from convlens.runs.replacement import clear
from convlens.runs.run_config import plain
from convlens.runs.run_directory import open_run
from convlens.runs.subject import checkpoint_path, load_network


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    register_resolvers()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("config", ["job_name=some/job", "run_dir=somewhere", "logger=csv", "callbacks=none"])


@pytest.fixture
def cfg(composed, tmp_path) -> DictConfig:
    own = copy.deepcopy(composed)
    own.run_dir = str(tmp_path / "run")
    return own


def store(cfg: DictConfig) -> Path:
    """The run's config as a run leaves it."""
    run_dir = Path(cfg.run_dir)
    with recorded(run_dir, cfg, "train", "convlens task=train"):
        pass
    return run_dir


def record(run_dir: Path) -> dict:
    return json.loads((run_dir / "run.json").read_text())


# ---- continuing a run -------------------------------------------------------------------------------------------


def test_a_run_is_continued_with_its_own_settings(cfg):
    check_same(Path(cfg.run_dir), cfg)  # there is no run yet
    check_same(store(cfg), cfg)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("seed", 1, "seed=0, not 1:"),
        ("recipe.batch_size", 8, "data.batch_size=64, not 8:"),  # interpolated from there, and earlier in the alphabet
        ("model.net.width", 0.5, "model.net.width=1.0, not 0.5:"),
        ("data.source.train", 7, "data.source.train=4000, not 7:"),
    ],
)
def test_the_first_setting_that_differs_is_named(cfg, key, value, said):
    run_dir = store(cfg)
    OmegaConf.update(cfg, key, value)
    with pytest.raises(InputError) as caught:
        check_same(run_dir, cfg)
    assert said in str(caught.value)
    assert str(run_dir) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_setting_that_is_only_on_one_side_is_named_too(cfg):
    run_dir = store(cfg)
    OmegaConf.update(cfg, "model.net.maps", {"fc6": 8}, force_add=True)
    with pytest.raises(InputError, match=r"model\.net\.maps\.fc6=None, not 8:"):
        check_same(run_dir, cfg)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trainer.accelerator", "cpu"),
        ("cache_dir", "elsewhere"),
        ("force", True),
        ("logger", {}),
        ("data.num_workers", 2),
    ],
)
def test_what_does_not_change_the_result_may_differ(cfg, key, value):
    # The data read cache_dir as well: a run may be continued after its cache was moved.
    run_dir = store(cfg)
    OmegaConf.update(cfg, key, value, merge=False)
    check_same(run_dir, cfg)


# ---- the record -------------------------------------------------------------------------------------------------


def test_a_job_that_ends_well_is_recorded(cfg):
    run_dir = Path(cfg.run_dir)
    assert status(run_dir) == "absent"
    with recorded(run_dir, cfg, "train", "convlens a b"):
        assert status(run_dir) == "running"
    found = record(run_dir)
    assert found.pop("seconds") >= 0
    del found["checksum"]
    assert len(found.pop("settings")) == 16
    assert found.pop("files") == [".run.json", "config.yaml", "run.json"]
    assert list(found.pop("states")) == ["config.yaml"]
    assert is_own((run_dir / "config.yaml").read_bytes(), found.pop("author"))
    assert found == {
        "task": "train",
        "name": "some/job",
        "status": "finished",
        "command": "convlens a b",
        "error": None,
        "version": convlens.__version__,
        "choices": {},
    }
    assert OmegaConf.to_container(OmegaConf.load(run_dir / "config.yaml")) == plain(cfg)


def test_the_kept_config_needs_no_other_file(cfg):
    assert "${" not in (store(cfg) / "config.yaml").read_text()


def test_a_failure_is_recorded_in_one_line_with_its_traceback_beside(cfg):
    run_dir = Path(cfg.run_dir)
    with pytest.raises(RuntimeError), recorded(run_dir, cfg, "train", "c"):
        raise RuntimeError("first line\nsecond line")
    assert (record(run_dir)["status"], record(run_dir)["error"]) == ("failed", "RuntimeError: first line")
    assert "second line" in (run_dir / "traceback.txt").read_text()
    assert status(run_dir) == "failed"


def test_a_job_that_is_stopped_is_recorded_without_a_traceback(cfg):
    run_dir = Path(cfg.run_dir)
    with pytest.raises(KeyboardInterrupt), recorded(run_dir, cfg, "train", "c"):
        raise KeyboardInterrupt
    assert record(run_dir)["error"] == "stopped before the end"
    assert not (run_dir / "traceback.txt").exists()


def _refuse_after_writing(run_dir: Path) -> None:
    write_bytes(run_dir / "metrics.csv", b"epoch\n")
    raise InputError("give another")


def test_a_job_that_is_refused_leaves_nothing_where_nothing_was(cfg):
    run_dir = Path(cfg.run_dir)
    for _ in range(2):
        with pytest.raises(InputError, match="give another"), recorded(run_dir, cfg, "train", "c"):
            _refuse_after_writing(run_dir)
        assert not run_dir.exists() or list(run_dir.iterdir()) == []
        run_dir.mkdir(exist_ok=True)
    store(cfg)
    with pytest.raises(InputError), recorded(run_dir, cfg, "train", "c"):
        raise InputError("give another")
    assert record(run_dir)["error"] == "InputError: give another"


def test_two_processes_do_not_work_in_one_directory(cfg):
    run_dir = Path(cfg.run_dir)
    with recorded(run_dir, cfg, "train", "c"):
        with pytest.raises(InputError, match=r"another process .+ works in"), recorded(run_dir, cfg, "train", "c"):
            pass
        assert record(run_dir)["status"] == "running"
    assert record(run_dir)["status"] == "finished"
    assert not (run_dir / ".lock").exists()


def test_the_traceback_of_an_earlier_attempt_does_not_stay_beside_a_finished_run(cfg):
    run_dir = Path(cfg.run_dir)
    with pytest.raises(RuntimeError), recorded(run_dir, cfg, "train", "c"):
        raise RuntimeError("no")
    store(cfg)
    assert record(run_dir)["error"] is None
    assert not (run_dir / "traceback.txt").exists()


def test_the_seconds_of_a_continued_run_add_up(cfg):
    run_dir = store(cfg)
    write_record(run_dir, record(run_dir) | {"seconds": 100.0})
    assert record(store(cfg))["seconds"] == pytest.approx(100, abs=5)


def test_in_place_of_a_damaged_record_its_copy_is_read(cfg, caplog):
    run_dir = store(cfg)
    (run_dir / "run.json").write_text('{"status": "fini')
    assert status(run_dir) == "finished"
    assert "run.json is damaged" in caplog.text
    (run_dir / ".run.json").write_text("")
    assert status(run_dir) == "failed"  # as the configuration says
    store(cfg)
    assert status(run_dir) == "finished"


def test_a_full_disk_is_an_input_error_and_leaves_no_partial_files(cfg, monkeypatch):
    run_dir = store(cfg)
    before = {p.name: p.read_bytes() for p in run_dir.iterdir()}

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="disk is full"), recorded(run_dir, cfg, "train", "c"):
        pass
    assert {p.name: p.read_bytes() for p in run_dir.iterdir()} == before


def test_an_analysis_of_a_run_leaves_the_record_of_the_run_alone(cfg):
    run_dir = store(cfg)
    before = record(run_dir)
    cfg.run = str(run_dir)
    with open_run(cfg, ["task=project"], "project") as folder:
        assert folder == run_dir
    assert record(run_dir) == before
    cfg.run = None
    with open_run(cfg, ["task=project"], "project"):
        pass
    assert (record(run_dir)["task"], record(run_dir)["command"]) == ("project", "convlens task=project")


def test_the_command_can_be_typed_again():
    assert command_line(["task=train", "run_dir=my runs/a"]) == "convlens task=train 'run_dir=my runs/a'"


def test_clearing_a_run_takes_what_it_computed_and_nothing_else(cfg):
    run_dir = store(cfg)
    for name in ("checkpoints/last.ckpt", "results/test/predictions.npz", "metrics.csv", "metrics.json", "mine.txt"):
        (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (run_dir / name).touch()
    write_json(
        run_dir / "run.json", {"task": "train", "status": "finished", "command": "c", "settings": "s"}
    )  # as version 0.1 wrote it
    clear(run_dir)
    clear(run_dir)
    assert [path.name for path in run_dir.iterdir()] == ["mine.txt"]


# ---- weights ----------------------------------------------------------------------------------------------------


def small(maps: int = 2) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, maps, 3), nn.Flatten(), nn.LazyLinear(4)).eval()


@pytest.fixture
def net() -> nn.Module:
    net = small()
    net(torch.zeros(1, 3, 6, 6))
    return net


def saved(net: nn.Module, path: Path) -> Path:
    state = net.state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    elif path.suffix == ".ckpt":
        ours = {f"net.{key}": value for key, value in state.items()} | {"errors.top1.wrong": torch.tensor(1)}
        torch.save({"state_dict": ours, "epoch": 3}, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".ckpt", ".pth", ".safetensors"])
def test_weights_are_loaded_from_each_kind_of_file(net, tmp_path, suffix):
    path = saved(net, tmp_path / f"w{suffix}")
    other = small()
    other(torch.zeros(1, 3, 6, 6))
    load_weights(other, path)
    for name, value in net.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


def test_missing_weights_say_where_they_were_looked_for(net, tmp_path):
    with pytest.raises(InputError, match=rf"no weights at {tmp_path}/none\.ckpt: give"):
        load_weights(net, tmp_path / "none.ckpt")


@pytest.mark.parametrize("suffix", [".ckpt", ".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"nonsense", "half"])
def test_unreadable_weights_are_one_line(net, tmp_path, suffix, content):
    path = saved(net, tmp_path / f"w{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == "half" else content)
    with pytest.raises(InputError, match=r"cannot read weights from .*: give a whole file") as caught:
        load_weights(net, path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2]])
def test_a_file_that_holds_something_else_is_named(net, tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match=rf"w\.pth holds a {type(content).__name__}, not weights"):
        load_weights(net, tmp_path / "w.pth")


def test_weights_that_would_run_code_are_refused(net, tmp_path):
    torch.save(net, tmp_path / "whole_network.pth")
    with pytest.raises(InputError, match="cannot read weights"):
        load_weights(net, tmp_path / "whole_network.pth")


def test_weights_of_another_network_name_the_first_parameter_that_does_not_fit(net, tmp_path):
    other = small(maps=5)
    other(torch.zeros(1, 3, 6, 6))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(InputError, match=r"0\.weight is \(5, 3, 3, 3\) there and \(2, 3, 3, 3\) in Sequential"):
        load_weights(net, saved(other, tmp_path / "w.ckpt"))
    assert all(torch.equal(net.state_dict()[key], value) for key, value in before.items())


def test_weights_with_too_few_or_too_many_parameters_name_the_first(net, tmp_path):
    state = net.state_dict()
    torch.save({key: value for key, value in state.items() if key != "2.bias"}, tmp_path / "few.pth")
    torch.save(state | {"3.weight": torch.zeros(1)}, tmp_path / "many.pth")
    with pytest.raises(InputError, match=r"2\.bias is missing there and \(4,\) in"):
        load_weights(net, tmp_path / "few.pth")
    with pytest.raises(InputError, match=r"3\.weight is \(1,\) there and missing in"):
        load_weights(net, tmp_path / "many.pth")


def test_what_lies_beside_the_weights_of_the_same_network_is_named(net, tmp_path):
    torch.save(net.state_dict() | {"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"epoch is of type int there and missing in Sequential"):
        load_weights(net, tmp_path / "w.pth")


# ---- checkpoints and subjects -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "asked", "found"),
    [
        (["best", "last"], "best", "best"),
        (["best", "last"], "last", "last"),
        (["last"], "best", "last"),  # no validation images: there is no best epoch
        (["last", "epoch_005"], "epoch_005", "epoch_005"),
    ],
)
def test_the_checkpoint_of_a_name(tmp_path, there, asked, found):
    (tmp_path / "checkpoints").mkdir()
    for name in there:
        (tmp_path / "checkpoints" / f"{name}.ckpt").touch()
    assert checkpoint_path(tmp_path, asked) == tmp_path / "checkpoints" / f"{found}.ckpt"


def test_an_unknown_checkpoint_is_answered_with_those_there_are(tmp_path):
    with pytest.raises(InputError, match="there is none yet: let the run finish an epoch"):
        checkpoint_path(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    for name in ("last", "best"):
        (tmp_path / "checkpoints" / f"{name}.ckpt").touch()
    with pytest.raises(InputError, match=r"no checkpoint 'epoch_002' in .*: there is best, last"):
        checkpoint_path(tmp_path, "epoch_002")


def test_the_number_of_classes_is_that_of_the_record_whatever_the_last_tensor_is(trained, monkeypatch):
    asked, _ = trained
    built: list[int] = []
    monkeypatch.setattr(subject, "build_net", lambda cfg, classes: built.append(classes) or nn.Identity())
    monkeypatch.setattr(subject, "load_weights", lambda *_: None)
    file = Path(asked.run) / "checkpoints/best.ckpt"
    state = torch.load(file, weights_only=True)
    state["state_dict"]["net.steps"] = torch.tensor(7)  # such as a count of batches
    torch.save(state, file)
    load_network(asked, [])
    write_record(Path(asked.run), record(Path(asked.run)) | {"num_classes": 5})
    load_network(asked, [])
    assert built == [12, 5]


@pytest.fixture
def trained(cfg, tmp_path) -> tuple[DictConfig, nn.Module]:
    """A run directory with a small network's weights, and a command that asks for it."""
    cfg.model.net.width = 0.1
    cfg.cache_dir = str(tmp_path / "cache")
    OmegaConf.update(cfg, "data.source.train", 60)
    run_dir = store(cfg)
    torch.manual_seed(5)
    net = zfnet(12, input_size=64, width=0.1)
    (run_dir / "checkpoints").mkdir()
    saved(net, run_dir / "checkpoints" / "best.ckpt")
    asked = copy.deepcopy(cfg)
    asked.run, asked.model.net.width, asked.data.source.train = str(run_dir), 1.0, 4000
    return asked, net


def test_a_run_gives_its_own_network_weights_and_data(trained):
    asked, net = trained
    found = load_network(asked, [])
    assert (found.name, found.weights) == ("zfnet", f"{asked.run}/checkpoints/best.ckpt")
    assert not found.net.training
    assert {k: v.shape for k, v in found.net.state_dict().items()} == {k: v.shape for k, v in net.state_dict().items()}
    assert all(torch.equal(found.net.state_dict()[key], value) for key, value in net.state_dict().items())
    assert len(found.data.source.split("train").rows) == 60


def test_single_values_of_the_runs_data_can_be_changed(trained):
    asked, _ = trained
    found = load_network(asked, ["run=x", "data.batch_size=3", "+data.limit=5"])
    assert (found.data.batch_size, found.data.limit) == (3, 5)
    assert load_network(asked, []).data.batch_size == 64


def test_a_directory_that_is_no_run_says_so(cfg, tmp_path):
    cfg.run = str(tmp_path)
    with pytest.raises(InputError, match=r"is not a run directory \(no config\.yaml\)"):
        load_network(cfg, [])


def test_without_a_run_the_model_is_looked_at_with_the_weights_it_is_given(cfg, tmp_path):
    cfg.model.net.width = 0.1
    net = zfnet(12, input_size=64, width=0.1)
    cfg.model.weights = str(saved(net, tmp_path / "w.safetensors"))
    found = load_network(cfg, [])
    assert found.weights == cfg.model.weights
    assert torch.equal(found.net.get_submodule("fc8").weight, net.get_submodule("fc8").weight)
    cfg.model.weights = None
    assert load_network(cfg, []).weights == "random weights"


def test_a_job_that_is_refused_leaves_no_empty_folders(cfg):
    run_dir = Path(cfg.run_dir)
    run_dir.mkdir(parents=True)

    def work() -> None:
        with recorded(run_dir, cfg, "train", "c"):
            (run_dir / "checkpoints").mkdir()
            (run_dir / "results" / "evolution").mkdir(parents=True)
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match="the disk is full"):
        work()
    assert list(run_dir.iterdir()) == []
