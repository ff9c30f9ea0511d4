"""What an offline run of W&B holds, read back from its file."""

import io
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset
from wandb.proto import wandb_internal_pb2

from convlens.io.json_files import load_json
from convlens.loggers.epoch_wandb import EpochWandb
from convlens.runs.conf_files import conf_dir
from convlens.runs.training import close
from convlens.systems import Classifier

BLOCK, HEADER = 32 * 1024, struct.Struct("<IHB")
FULL, LAST = 1, 4
COLUMNS = ["layer", "map", "rank", "image", "label", "activation", "patch", "projection", "where"]
COMMAND = [
    *("task=train", "logger=wandb", "data=parts", "data.source.train=60", "data.source.test=24", "data.image_size=64"),
    *("data.test_views=1", "model.net.width=0.1", "recipe.max_epochs=3", "job_name=some/name"),
    *(
        "callbacks.projections.layers=[conv1,conv2]",
        "callbacks.projections.maps=2",
        "callbacks.projections.epochs=[1,3]",
    ),
    *("callbacks.evolution.layers=[conv1]", "callbacks.evolution.maps=2", "callbacks.evolution.epochs=[2]"),
]


def records(run_dir: Path) -> list[wandb_internal_pb2.Record]:
    """All records of the one finished run in a directory."""
    (path,) = (run_dir / "wandb").glob("offline-run-*/*.wandb")
    deadline = time.monotonic() + 20
    # W&B's own process closes the file some moments after `finish` returns.
    while not of_kind(found := parsed(path.read_bytes()), "exit") and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def parsed(content: bytes) -> list[wandb_internal_pb2.Record]:
    """The records of a file: LevelDB's log framing after 7 bytes of header."""
    place, parts, found = 7, b"", []
    while place + HEADER.size <= len(content):
        left = BLOCK - place % BLOCK
        if left < HEADER.size:  # a block's end too short for a header is filled with zeros
            place += left
            continue
        _, length, kind = HEADER.unpack_from(content, place)
        place += HEADER.size
        parts += content[place : place + length]
        place += length
        if kind in (FULL, LAST) and place <= len(content):
            found.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return found


def of_kind(found: list[wandb_internal_pb2.Record], kind: str) -> list:
    return [getattr(record, kind) for record in found if record.WhichOneof("record_type") == kind]


def history(found: list[wandb_internal_pb2.Record]) -> list[dict]:
    rows = []
    for record in of_kind(found, "history"):
        row: dict = {}
        for item in record.item:
            *folders, name = item.nested_key or [item.key]
            place = row
            for folder in folders:
                place = place.setdefault(folder, {})
            place[name] = json.loads(item.value_json)
        rows.append(row)
    return rows


@pytest.fixture(scope="module")
def visitors() -> Iterator[tuple[str, list]]:
    """The address of a server that stands in for all of the internet, and who came."""
    came: list = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, address = server.accept()
            except OSError:
                return
            came.append(address)
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}", came
    server.close()


def environment(folder: Path, internet: str) -> dict[str, str]:
    """Without an account, without settings of W&B, and with all ways out leading to the server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    folders = {f"WANDB_{name}_DIR": str(folder / name) for name in ("CONFIG", "DATA", "CACHE")}
    ways = dict.fromkeys(("WANDB_BASE_URL", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"), internet)
    return kept | folders | ways | {"NETRC": str(folder / "none"), "NO_PROXY": "", "OMP_NUM_THREADS": "1"}


def command(
    folder: Path, internet: str, overrides: list[str] = COMMAND, before: str = ""
) -> subprocess.CompletedProcess:
    own = [*overrides, f"run_dir={folder / 'run'}", f"cache_dir={folder / 'cache'}"]
    return subprocess.run(
        [sys.executable, "-c", f"{before}\nfrom convlens.cli.main import main\nmain()", *own],
        env=environment(folder, internet),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=folder,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory, visitors) -> tuple[Path, list[wandb_internal_pb2.Record]]:
    """A run of the command line on a machine where nobody has ever logged in; one for all workers of pytest."""
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    folder = (tmp_path_factory.getbasetemp() if alone else tmp_path_factory.getbasetemp().parent) / "wandb"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            done = command(folder, visitors[0])
            (folder / "said.json").write_text(json.dumps([done.returncode, done.stderr, len(visitors[1])]))
    code, said, came = json.loads((folder / "said.json").read_text())
    assert code == 0, said
    assert "wandb login" not in said
    assert came == 0
    return folder / "run", records(folder / "run")


@pytest.mark.essential
def test_a_run_without_an_account_is_offline_and_asks_nobody(trained):
    assert [exit.exit_code for exit in of_kind(trained[1], "exit")] == [0]


@pytest.mark.essential
def test_the_run_is_filed_by_its_configuration(trained):
    run = of_kind(trained[1], "run")[0]
    assert (run.project, run.display_name, run.run_group, run.job_type, list(run.tags)) == (
        *("convlens", "some/name", "some-parts", "train"),
        ["zfnet", "parts", "modern"],
    )
    config = {
        item.key: json.loads(item.value_json) for record in of_kind(trained[1], "config") for item in record.update
    }
    assert (config["seed"], config["recipe.max_epochs"], config["data.source.train"]) == (0, 3, 60)
    assert not any(isinstance(value, dict) and value for key, value in config.items() if key != "_wandb")


@pytest.mark.essential
def test_the_summary_is_the_runs_metrics(trained):
    shown = {}
    for record in of_kind(trained[1], "summary"):
        for item in record.update:
            shown["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    metrics = load_json(trained[0] / "metrics.json")
    assert {key: shown.get(key) for key in metrics} == pytest.approx(metrics)


def test_the_sweep_of_wandb_agents_names_what_there_is():
    sweep = yaml.safe_load((conf_dir() / "wandb_sweep.yaml").read_text())
    for key, choice in sweep["parameters"].items():
        for value in choice["values"]:
            if key != "seed":
                assert (conf_dir() / key / f"{value}.yaml").exists()
    ablations = {path.stem for path in (conf_dir() / "ablation").glob("*.yaml")}
    assert set(sweep["parameters"]["ablation"]["values"]) == ablations, "list the ablations in conf/wandb_sweep.yaml"
    assert [word for word in sweep["command"] if word.startswith("experiment=")] == ["experiment=ablation"]


@pytest.mark.essential
def test_the_epoch_is_the_axis_of_every_chart(trained):
    metrics = of_kind(trained[1], "metric")
    assert "epoch" in [metric.name for metric in metrics]
    assert [metric.step_metric for metric in metrics if metric.glob_name == "*"][-1] == "epoch"
    assert all("epoch" in row for row in history(trained[1]))


@pytest.mark.essential
def test_the_metrics_are_those_of_the_csv(trained):
    rows = (trained[0] / "metrics.csv").read_text().splitlines()
    names = rows[0].split(",")
    assert {"train/loss", "val/top1_error", "lr", "filters/conv1_rms_spread"} <= set(names)
    logged: dict[str, dict[str, float]] = {}
    for row in history(trained[1]):
        logged.setdefault(str(row["epoch"]), {}).update(row)
    for row in rows[1:]:
        cells = dict(zip(names, row.split(","), strict=True))
        for name, cell in cells.items():
            if cell:
                assert logged[cells["epoch"]][name] == pytest.approx(float(cell), rel=1e-5), name
    assert sorted(logged) == ["1", "2", "3"]


@pytest.mark.essential
def test_pictures_stand_at_their_epoch_and_are_in_the_run_directory_too(trained):
    run_dir, found = trained
    (folder,) = (run_dir / "wandb").glob("offline-run-*/files")
    seen = []
    for row in history(found):
        for key, value in row.items():
            if isinstance(value, dict) and value["_type"] == "images/separated":
                seen.append((key, row["epoch"], value["captions"][0]))
                ours = {path.read_bytes() for path in (run_dir / "results").rglob("*.png")}
                assert all(any(_same(folder / name, png) for png in ours) for name in value["filenames"]), key
    assert sorted(seen) == [
        ("evolution", 2, "epochs 2"),
        *(("filters", epoch, f"conv1, epoch {epoch}") for epoch in (1, 2, 3)),
        *(("projections/conv1", epoch, f"conv1, epoch {epoch}") for epoch in (1, 3)),
        *(("projections/conv2", epoch, f"conv2, epoch {epoch}") for epoch in (1, 3)),
    ]


def _same(path: Path, png: bytes) -> bool:
    a, b = Image.open(path), Image.open(io.BytesIO(png))
    return a.size == b.size and a.convert("RGB").tobytes() == b.convert("RGB").tobytes()


@pytest.mark.essential
def test_the_table_has_a_row_per_activation_with_its_pictures(trained):
    run_dir, found = trained
    (folder,) = (run_dir / "wandb").glob("offline-run-*/files")
    logged = [(row["epoch"], row["projections/top"]) for row in history(found) if "projections/top" in row]
    assert [epoch for epoch, _ in logged] == [1, 3]
    for epoch, value in logged:
        table = json.loads((folder / value["path"]).read_text())
        assert table["columns"] == COLUMNS
        assert {row[0] for row in table["data"]} <= {"conv1", "conv2"}
        assert all(1 <= row[2] <= 9 and row[3].startswith("parts/") and row[5] > 0 for row in table["data"])
        assert {tuple(row[6:]) for row in table["data"]} == {("Image", "Image", "Image")}
        arrays = np.load(run_dir / "results" / "projections" / f"epoch_{epoch:03d}" / "conv1.npz")
        values = [row[5] for row in table["data"] if row[0] == "conv1"]
        assert values == pytest.approx(arrays["values"][arrays["values"] > 0].tolist())


@pytest.mark.slow
def test_a_job_that_fails_is_a_failed_run(tmp_path, visitors):
    broken = "from convlens.systems import Classifier\nClassifier.test_step = lambda *args: 1 / 0"
    plain = [override for override in COMMAND if not override.startswith("callbacks.")]
    done = command(tmp_path, visitors[0], [*plain, "callbacks=none"], broken)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    (exit,) = of_kind(records(tmp_path / "run"), "exit")
    assert exit.exit_code == 1
    assert visitors[1] == []


# ---- in this process --------------------------------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path, monkeypatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_SILENT", "true")


def fit(logger: EpochWandb, folder: Path, step=None) -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    system = Classifier(net, lambda parameters: torch.optim.SGD(parameters, lr=0.5))
    if step is not None:
        system.training_step = step  # type: ignore[method-assign]
    data = DataLoader(TensorDataset(torch.randn(8, 3, 2, 2), torch.arange(8) % 3), 4)
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    trainer.fit(system, data)


def test_each_job_of_a_process_is_a_run_of_its_own_and_a_failed_one_says_so(tmp_path, alone):
    def broken(batch, batch_idx):
        raise RuntimeError("no")

    codes, ids = [], []
    for name, step in (("a", None), ("b", broken), ("c", None)):
        logger = EpochWandb(save_dir=str(tmp_path / name), offline=True, project="p")
        failed = True
        try:
            fit(logger, tmp_path / name, step)
            failed = False
        except RuntimeError:
            pass
        finally:
            close([logger], failed)
        found = records(tmp_path / name)
        codes.append(of_kind(found, "exit")[0].exit_code)
        ids.append(of_kind(found, "run")[0].run_id)
    assert codes == [0, 1, 0]
    assert len(set(ids)) == 3


@pytest.mark.slow
def test_a_run_that_goes_on_in_its_directory_goes_on_in_wandb(tmp_path, alone):
    for folder in ("a", "b", "a"):
        logger = EpochWandb(save_dir=str(tmp_path / folder), offline=True)
        logger.log_metrics({"epoch": 1.0, "loss": 1.0})
        logger.finish(False)
        time.sleep(1.1)  # W&B names the folders of offline runs by the second
    first, again = (path.name.split("-")[-1] for path in (tmp_path / "a/wandb").glob("offline-run-*"))
    (other,) = (path.name.split("-")[-1] for path in (tmp_path / "b/wandb").glob("offline-run-*"))
    assert first == again != other


def test_one_job_offline_does_not_make_the_next_one_so(tmp_path, alone):
    logger = EpochWandb(save_dir=str(tmp_path), offline=True)
    logger.log_metrics({"epoch": 1, "a": 2})
    logger.finish(False)
    assert "WANDB_MODE" not in os.environ
    assert "mode" not in EpochWandb(save_dir=str(tmp_path), offline=False)._wandb_init


def test_rows_and_pictures_take_the_epoch_said_before(tmp_path, alone):
    logger = EpochWandb(save_dir=str(tmp_path), offline=True)
    picture = tmp_path / "a.png"
    Image.new("RGB", (3, 2), "red").save(picture)
    logger.log_metrics({"early": 5.0}, step=0)
    logger.log_metrics({"epoch": 7.0}, step=1)  # no row of its own
    logger.log_image("picture", [str(picture)], step=1, caption=["seventh"])
    logger.log_table("table", ["name", "picture"], [["a", Image.open(picture)]], step=1)
    logger.log_metrics({"loss": 1.0, "epoch": 8.0}, step=2)
    logger.finish(False)
    rows = history(records(tmp_path))
    named = [(next(k for k in ("early", "picture", "table", "loss") if k in row), row.get("epoch")) for row in rows]
    assert named == [("early", 0), ("picture", 7), ("table", 7), ("loss", 8)]


@pytest.mark.parametrize(
    ("mode", "offline"), [("offline", True), ("dryrun", True), ("online", False), ("disabled", False)]
)
def test_wandb_mode_decides_where_the_configuration_does_not(tmp_path, alone, monkeypatch, mode, offline):
    monkeypatch.setenv("WANDB_MODE", mode)
    logger = EpochWandb(save_dir=str(tmp_path))
    assert (logger._wandb_init.get("mode") == "offline") is offline
    assert EpochWandb(save_dir=str(tmp_path), offline=True)._wandb_init["mode"] == "offline"


def test_a_run_that_never_logged_has_nothing_to_finish(tmp_path, alone):
    EpochWandb(save_dir=str(tmp_path), offline=True).finish(True)
    assert not (tmp_path / "wandb").exists()
