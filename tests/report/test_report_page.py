import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convlens.errors import InputError
from convlens.report import report_runs, write_report


def test_the_page_needs_nothing_else(whole: tuple[Path, Any]):
    found = whole[1]
    assert len(found.find("img")) == 4 + 2  # two figures of two runs, error and loss
    for tag, attributes in found.tags:
        for name in ("src", "srcset", "href", "action", "poster"):
            target = attributes.get(name)
            assert target is None or target.startswith(("data:", "#")), (tag, name, target)
    assert found.find("script", src="") == found.find("iframe") == []
    style = re.search(r"<style>(.*?)</style>", found.source, re.DOTALL)
    assert style
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_links_lead_somewhere(whole: tuple[Path, Any]):
    found = whole[1]
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in found.find("a")} <= set(ids)


def test_figures_are_the_files_byte_for_byte_and_side_by_side(whole: tuple[Path, Any]):
    study, found = whole
    images = [image for image in found.find("img") if image["src"].startswith("data:image/png")]
    shown = [base64.b64decode(image["src"].partition(",")[2]) for image in images]
    order = [(run, layer) for layer in ("conv1", "conv2") for run in ("zfnet", "alexnet")]
    files = [study / run / "results" / "projections" / "epoch_003" / f"{layer}.png" for run, layer in order]
    assert shown == [file.read_bytes() for file in files]
    assert all((image["width"], image["height"]) == ("6", "4") for image in images)
    assert images[0]["alt"] == "conv1 <b>of</b> zfnet"


def test_numbers_of_the_networks_stand_side_by_side(whole: tuple[Path, Any]):
    found = whole[1]
    # errors at the best epoch 2; top-5 on test is equal and so both are marked
    errors = ["50.0", "40.2", "9.0", "12.3", "8.0"]
    assert found.row("zfnet") == ["zfnet", "62,357,608", *errors, "2 of 3", "1 min 21 s"]
    assert found.row("alexnet")[5:7] == ["14.0", "8.0"]
    assert found.row("dead maps (%)")[1:] == ["4.2 ± 0.5", "4.2 ± 0.5"]
    assert found.row("images")[1:] == ["1,400", "1,400"]
    assert found.row("conv1") == ["conv1", "12.3"]
    assert found.row("conv2") == ["conv2", "5.0"]
    assert "Not recorded by any run: training top-5 error." in found.text


def test_the_best_value_is_marked(whole: tuple[Path, Any]):
    found = whole[1]
    assert '<td class="num best">12.3</td>' in found.source
    assert '<td class="num">14.0</td>' in found.source


def test_the_opening_says_what_was_done_and_how_long_it_took(whole: tuple[Path, Any]):
    found = whole[1]
    assert "This report covers 2 networks (zfnet and alexnet) and 1 analysis (Top-9 projections)." in found.text
    assert "The lowest test top-1 error is 12.3 %, by zfnet (alexnet: 14.0 %)." in found.text
    assert "4 parts took 3 min 22 s in total (1 failed, 1 reused)." in found.text  # 100 + 100 + 1.5
    assert re.search(r"Written on \d{1,2} [A-Z][a-z]+ \d{4}, \d\d:\d\d UTC by convlens 0\.1\.0", found.text)


def test_failed_parts_are_plain_to_see(whole: tuple[Path, Any]):
    found = whole[1]
    assert "1 of 4 parts failed." in found.text
    assert found.text.count("no images in <data>") == 3  # on top, at the part, in the traceback
    assert found.find("a", href="#part-4")
    assert 'File "<string>"' in found.text
    assert ("span", "failed") in found.texts


def test_commands_and_configurations_are_complete(whole: tuple[Path, Any]):
    found = whole[1]
    commands = [data for tag, data in found.texts if tag == "pre"]
    assert commands[0] == "convlens task=study"
    assert "convlens task=transfer a=1 && b" in commands
    assert "model:\n  name: zfnet  # <&>" in [command.rstrip("\n") for command in commands]
    assert sum("name: zfnet" in command for command in commands) == 1
    assert "Configuration: as in train zfnet." in " ".join(found.text.split()).replace(" .", ".")


@pytest.mark.usefixtures("no_drawing")
def test_text_from_files_is_escaped(study: Path, page: Callable[[Path], Any], write: Callable[[Path, Any], Path]):
    evil = "</pre><script>alert(1)</script>"
    write(study / "zfnet" / "config.yaml", evil)
    write(
        study / "zfnet" / "results" / "x" / "result.json", {"analysis": evil, "text": evil, "numbers": [{"name": evil}]}
    )
    found = page(write_report(study))
    assert "<script>alert" not in found.source
    assert found.text.count(evil) >= 4
    assert len(found.find("script")) == 1
    assert "Our <study>" in found.text


@pytest.mark.usefixtures("no_drawing")
def test_analyses_come_in_the_order_of_the_list_whatever_an_old_file_asks_for(
    study: Path, page: Callable[[Path], Any], write: Callable
):
    for name, order in (("transfer_voc", 15), ("compare", 90), ("collect", 99), ("unknown", 0), ("occlusion", None)):
        result = {"analysis": name, "title": name} | ({} if order is None else {"order": order})
        write(study / "zfnet" / "results" / name / "result.json", result)
    found = page(write_report(study))
    titles = [data.strip() for tag, data in found.texts if tag == "h2" and data.strip()]
    assert titles == [
        *("collect", "Networks side by side", "Learning curves", "Claims of the paper"),
        *("Figures and tables of the paper", "compare", "Top-9 projections", "occlusion"),
        *("transfer_voc", "unknown", "Commands and configurations"),
    ]


@pytest.mark.usefixtures("no_drawing")
def test_many_layers_are_folded_away(study: Path, page: Callable[[Path], Any], write: Callable[[Path, Any], Path]):
    figures = [{"file": f"{key}.png", "key": key} for key in ("conv1", "conv2", "conv3", "conv4")]
    write(study / "zfnet" / "results" / "many" / "result.json", {"analysis": "compare", "figures": figures})
    groups = page(write_report(study)).find("details", **{"class": "group"})
    # four groups of which two are open, then the two of the projections
    assert ["open" in group for group in groups] == [True, True, False, False, True, True]


def test_curves_come_in_light_and_dark(whole: tuple[Path, Any]):
    found = whole[1]
    dark = found.find("source")
    light = [image for image in found.find("img") if image["src"].startswith("data:image/svg+xml")]
    assert len(dark) == len(light) == 2
    assert {source["media"] for source in dark} == {"screen and (prefers-color-scheme: dark)"}
    assert dark[0]["srcset"] != light[0]["src"]
    assert [image["alt"] for image in light] == [
        "top-1 error (%) of all runs over the epochs",
        "loss of all runs over the epochs",
    ]


def test_the_same_runs_give_the_same_page(study: Path):
    def undated(path: Path) -> str:
        return re.sub(r"Written on .*? UTC", "", path.read_text())

    assert undated(write_report(study)) == undated(write_report(study, study / "again.html"))


@pytest.mark.usefixtures("no_drawing")
def test_the_report_is_written_where_asked_and_nothing_else(study: Path):
    before = {path for path in study.parent.rglob("*") if path.is_file()}
    out = study.parent / "new" / "report.html"
    assert write_report(study, out) == out
    assert {path for path in study.parent.rglob("*") if path.is_file()} - before == {
        out,
        out.parent / "results/claims.json",
    }
    assert write_report(study) == study / "report.html"


@pytest.mark.usefixtures("no_drawing")
def test_runs_without_a_study(tmp_path: Path, make_run: Callable[..., Path], page: Callable[[Path], Any]):
    runs = [make_run(tmp_path / f"seed{seed}", "zfnet", 10.0 + seed) for seed in (1, 2)]
    found = page(report_runs(runs, tmp_path / "out.html", title="Two seeds"))
    assert found.row("zfnet (seed1)")[5] == "11.0"
    assert found.row("zfnet (seed2)")[5] == "12.0"
    assert 'convlens task=train model=zfnet "data.root=/my data/<pictures>"' in found.text
    assert "Two seeds" in found.text
    one = page(report_runs(runs[:1], tmp_path / "one.html"))
    assert 'class="num best"' not in one.source
    assert "The test top-1 error is 11.0 %, by zfnet." in one.text


@pytest.mark.usefixtures("no_drawing")
def test_runs_of_a_sweep_are_named_by_the_settings_in_which_they_differ(
    tmp_path: Path, make_run: Callable[..., Path], write: Callable[[Path, Any], Path], page: Callable[[Path], Any]
):
    # the same network at the same width, however the commands spell it, at two widths and three seeds
    for seed, width in ((0, 0.5), (1, 0.5), (2, 0.5), (0, 1.0), (1, 1.0)):
        folder = make_run(tmp_path / f"seed{seed}-{width}", "a_long_name", 10.0)
        about = json.loads((folder / "run.json").read_text()) | {"choices": {"model": "zfnet", "ablation": "none"}}
        write(folder / "run.json", about | {"command": f"convlens model.net.width={width:g}"})
        config = {"seed": seed, "run_dir": str(folder), "data": {"seed": seed}, "model": {"net": {"width": width}}}
        write(folder / "config.yaml", json.dumps(config))
    found = page(write_report(tmp_path))
    for name in ("seed=0, model.net.width=0.5", "seed=2, model.net.width=0.5"):
        assert found.row(name)[1] == "62,357,608"
    assert found.row("seed=1, model.net.width=1.0")


@pytest.mark.usefixtures("no_drawing")
def test_a_folder_of_runs_and_a_run_are_taken_as_they_are(
    tmp_path: Path, make_run: Callable[..., Path], page: Callable[[Path], Any]
):
    run = make_run(tmp_path / "a", "zfnet", 10.0)
    make_run(tmp_path / "b", "alexnet", 11.0)
    assert page(write_report(tmp_path)).row("alexnet")[5] == "11.0"
    assert page(write_report(run)).row("zfnet")[5] == "10.0"


def test_nothing_to_report_is_an_input_error(tmp_path: Path):
    with pytest.raises(InputError, match=r"neither a study\.json nor a run directory"):
        write_report(tmp_path)
    with pytest.raises(InputError, match=r"no such run directory: .*nowhere"):
        report_runs([tmp_path / "nowhere"], tmp_path / "out.html")
    with pytest.raises(InputError, match="at least one"):
        report_runs([], tmp_path / "out.html")
    assert list(tmp_path.iterdir()) == []
