"""What the configuration of somebody else's run may name."""

import contextlib
import importlib
import os
import stat
import sys
from pathlib import Path

import pytest
import yaml

from convlens.errors import InputError
from convlens.io.json_files import read_json, write_json
from convlens.runs.authorship import is_own, mark
from convlens.runs.trust import trusted_config

NET = {"_target_": "convlens.nets.zfnet", "num_classes": 12}
DATA = {"_target_": "convlens.data.ImageData", "source": {"_target_": "convlens.data.PartsImages"}}

KNOWN = [
    NET,
    {"_target_": "convlens.nets.alexnet"},
    {"_target_": "convlens.nets.zfnet_wide"},
    {"_target_": "torchvision.models.get_model", "name": "resnet18", "num_classes": 3},
    {"_target_": "torchvision.models.resnet.ResNet", "layers": [1, 1, 1, 1]},
    {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 4},
    {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.ReLU"}]},
]
PAYLOADS = [
    "os.system",
    "builtins.exec",
    "subprocess.run",
    "payload.run",
    "torch.load",
    "torch.hub.load",
    "torch.nn.modules.activation.torch.load",
    "torch.nn.modules.module.os.system",
    "torchvision.models.resnet.partial",
    "torch.nn.init.torch.hub.load",
    "torch.utils.cpp_extension.load_inline",
    "torch.nn.functional.relu",
    "torch.nn",
    "convlens.data.write_splits",
    "convlens.data.cache_images",
    "convlens.io.atomic.write_bytes",
    "convlens.runs.replacement.clear",
    "convlens.cli.main.main",
    "convlens.nets.weights.load_weights",
    "convlens.data.datamodule.Path",
    "convlens.nothing",
    "hydra.utils.instantiate",
    "",
    "torch..nn",
]


def run_with(folder: Path, net: object = NET, data: object = DATA) -> Path:
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": {"net": net, "name": "x"}, "data": data}))
    write_json(folder / "run.json", {"task": "train", "status": "finished"})
    return folder


@pytest.mark.parametrize("net", KNOWN, ids=lambda net: net["_target_"])
def test_known_constructors_are_taken(tmp_path, net):
    assert trusted_config(run_with(tmp_path, net), False).model.net == net


@pytest.mark.parametrize("place", ["net", "in net", "in a list", "data", "source"])
@pytest.mark.parametrize("target", PAYLOADS)
def test_anything_else_is_refused_at_any_depth_by_any_name(tmp_path, monkeypatch, target, place):
    (tmp_path / "payload.py").write_text("from pathlib import Path\nPath('ran').touch()\ndef run(): pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    node = {"_target_": target}
    net = {"net": node, "in net": NET | {"block": {"deep": node}}, "in a list": NET | {"layers": [1, [node]]}}
    data = {"data": node, "source": DATA | {"source": node}}
    with pytest.raises(InputError) as caught:
        trusted_config(run_with(tmp_path, net.get(place, NET), data.get(place, DATA)), False)
    assert f"._target_={target} is no constructor that somebody else's run may name" in str(caught.value)
    assert "trust=true" in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "resnet18", "weights": "/tmp/evil.pth"},
        {"name": "resnet18", "weights": {"_target_": "os.system"}},
        {"name": "hf-hub:evil/model"},
        {"name": "resnet18", "norm_layer": "x"},
        {"_args_": ["resnet18"]},
    ],
)
def test_arguments_of_factories_are_checked(tmp_path, arguments):
    with pytest.raises(InputError, match="is no constructor that somebody else's run may name"):
        trusted_config(run_with(tmp_path, {"_target_": "torchvision.models.get_model", **arguments}), False)


@pytest.mark.parametrize(
    "text",
    [
        "${payload}",
        r"\\\${payload}",
        r"\\\\\\\${payload}",
        r"\\\${oc.create:{_target_:os.mkdir,_args_:[x]}}",
        "a ${oc.env:HOME}",
        "???",
    ],
)
@pytest.mark.parametrize("place", ["net", "data", "elsewhere"])
def test_what_was_checked_is_not_computed_again(tmp_path, text, place):
    net, data = {"zz": [text]} if place == "net" else {}, {"zz": text} if place == "data" else {}
    run = run_with(tmp_path, NET | net, DATA | data)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config |= {"payload": {"_target_": "os.mkdir", "_args_": [str(tmp_path / "ran")]}}
    config |= {"other": {"zz": text}} if place == "elsewhere" else {}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=r"config.yaml: \S+zz(\[0\])? is no plain value: .* give trust=true"):
        trusted_config(run, False)


def test_no_library_is_imported_from_the_working_directory(tmp_path, monkeypatch):
    for name in ("timm", "optional_of_a_library"):
        (tmp_path / f"{name}.py").write_text("from pathlib import Path\nPath('ran').touch()\ncreate_model = print\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with contextlib.suppress(InputError):  # if timm is not installed
        trusted_config(run_with(tmp_path, {"_target_": "timm.create_model", "model_name": "resnet18"}), False)
    with pytest.raises(ImportError):
        importlib.import_module("optional_of_a_library")
    assert not (tmp_path / "ran").exists()
    monkeypatch.syspath_prepend(tmp_path)
    trusted_config(run_with(tmp_path, {"_target_": "optional_of_a_library.x"}), ["optional_of_a_library"])
    importlib.import_module("optional_of_a_library")
    monkeypatch.delitem(sys.modules, "optional_of_a_library")
    (tmp_path / "ran").unlink()


def test_somebody_elses_run_names_no_folder_to_write_to(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    run = run_with(tmp_path, data=DATA | {"download": True, "cache_dir": "/theirs", "limit": 3})
    data = trusted_config(run, False, "/mine").data
    assert (data.download, data.cache_dir, data.limit) == (False, "/mine", 3)
    assert trusted_config(run, ["mine"], "/mine").data == data
    data = trusted_config(run_with(tmp_path, data=DATA | {"cache_dir": None}), False, "/mine").data
    assert (data.cache_dir, "download" in data) == (None, False)
    run = run_with(tmp_path, data=DATA | {"download": True, "cache_dir": "/theirs"})
    assert trusted_config(run, True, "/mine").data.cache_dir == "/theirs"
    write_json(run / "run.json", {"task": "train", "author": mark((run / "config.yaml").read_bytes())})
    assert trusted_config(run, False, "/mine").data.download


@pytest.mark.parametrize("node", [None, 3, "x", [], {}, ["a"], True, "???", {"_target_": None}, {"_target_": ["os"]}])
def test_a_configuration_without_network_or_data_is_one_line(tmp_path, node):
    for trust in (False, True):
        with pytest.raises(InputError, match="data has no _target_: give the directory of a training run"):
            trusted_config(run_with(tmp_path, data=node), trust)
        with pytest.raises(InputError, match=r"model\.net has no _target_: give the directory of a training run"):
            trusted_config(run_with(tmp_path, node), trust)
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": node, "data": DATA}))
        with pytest.raises(InputError, match=r"model\.net has no _target_: give the directory of a training run"):
            trusted_config(tmp_path, trust)


@pytest.mark.parametrize(("trust", "taken"), [(True, True), (["mine"], True), (["min"], False), (["other"], False)])
def test_the_user_may_trust_a_package_or_all(tmp_path, trust, taken):
    run = run_with(tmp_path, {"_target_": "mine.nets.build"})
    if taken:
        assert trusted_config(run, trust).model.net._target_ == "mine.nets.build"
        return
    with pytest.raises(InputError, match="give trust="):
        trusted_config(run, trust)


def test_a_run_of_ones_own_needs_no_trust_until_somebody_changes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    run = run_with(tmp_path, {"_target_": "mine.build"})
    write_json(run / "run.json", read_json(run / "run.json") | {"author": mark((run / "config.yaml").read_bytes())})
    assert trusted_config(run, False).model.net._target_ == "mine.build"
    key = tmp_path / "config/convlens/key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("mine.build", "yours.build"))
    with pytest.raises(InputError, match=r"yours\.build is no constructor"):
        trusted_config(run, False)


def test_the_mark_is_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "mine"))
    made = mark(b"content")
    assert made is not None
    assert is_own(b"content", made)
    assert not any(is_own(b"content", other) for other in (None, "", 3, made[:-1], "é", "\ud800"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "theirs"))
    assert not is_own(b"content", made)
    (tmp_path / "theirs/convlens/key").chmod(0o644)  # others can read it
    assert mark(b"content") is None


def test_without_a_place_for_a_key_nothing_is_marked(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    assert mark(b"content") is None
    assert os.listdir(tmp_path) == ["file"]
