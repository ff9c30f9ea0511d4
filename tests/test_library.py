"""The package as it is used in a notebook: its verbs on a network that convlens knows nothing about."""

import ast
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import squeezenet1_1

import convlens
from convlens.errors import InputError

HEAVY = ("torch", "torchvision", "lightning", "numpy", "matplotlib", "PIL", "hydra", "wandb", "scipy")


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return squeezenet1_1(num_classes=4)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(1))


# ---- loading ----------------------------------------------------------------------------------------------------


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_loads_no_library_and_a_verb_no_trainer():
    heavy = f"[name for name in {HEAVY} if name in sys.modules]"
    trainers = "[name for name in ('torch', 'lightning', 'hydra', 'wandb') if name in sys.modules]"
    said = run_python(
        "import sys, time; began = time.monotonic(); import convlens; took = time.monotonic() - began; "
        f"print(convlens.__version__, {heavy}, took < 5); convlens.project; print({trainers})"
    )  # a tenth of a second on an idle machine
    assert said.splitlines() == [f"{convlens.__version__} [] True", "['torch']"]


def test_what_is_offered_is_there():
    assert {"project", "receptive_field", "top_activations", "OcclusionMaps", "InputError"} <= set(convlens.__all__)
    for name in convlens.__all__:
        assert getattr(convlens, name).__doc__
        assert getattr(convlens, name).__name__ == name
    assert set(convlens.__all__) | {"__version__"} == set(dir(convlens))
    assert callable(convlens.nets.alexnet)


def test_the_names_for_type_checkers_are_those_that_are_imported():
    tree = ast.parse(Path(convlens.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.body[0], ast.ImportFrom))
    declared = {alias.asname: node.module for node in block.body for alias in node.names}
    assert declared == convlens._NAMES


@pytest.mark.parametrize(
    "first",
    [
        pytest.param("pass", marks=pytest.mark.essential),
        pytest.param("convlens.occlude", marks=pytest.mark.essential),
        pytest.param("from convlens.transfer.probes import fit", marks=pytest.mark.essential),
    ],
)
def test_every_module_is_an_attribute_whatever_was_imported_before(first):
    modules = [module.name for module in pkgutil.walk_packages(convlens.__path__, "convlens.")]
    access = f"for name in {modules}: functools.reduce(getattr, name.split('.')[1:], convlens)"
    assert run_python(f"import functools, convlens\n{first}\n{access}") == ""


def test_the_types_are_shipped():
    assert Path(convlens.__file__).with_name("py.typed").exists()


def test_a_wrong_name_is_answered_with_those_there_are():
    with pytest.raises(AttributeError, match=r"convlens has no 'projekt': it offers .*project.*top_activations"):
        _ = convlens.projekt


def test_the_verbs_have_the_arguments_that_are_promised():
    def arguments(verb: str) -> list[str]:
        return list(inspect.signature(getattr(convlens, verb)).parameters)

    assert arguments("project")[:8] == ["net", "images", "layer", "units", "rule", "signal", "unpool", "lrn"]
    assert arguments("receptive_field")[:3] == ["net", "layer", "input_size"]
    assert arguments("top_activations")[:4] == ["net", "loader", "layers", "k"]


# ---- the verbs on any network -----------------------------------------------------------------------------------


def test_a_receptive_field_in_a_network_of_torchvision(net):
    # conv 3 at stride 2, relu, pool 3 at stride 2: one value sees 3 + 2 * 2 = 7 pixels, its neighbour begins 4 later.
    field = convlens.receptive_field(net, "features.2", input_size=(64, 64))
    assert (tuple(field.size), tuple(field.stride), tuple(field.start)) == ((7, 7), (4, 4), (0, 0))


def test_the_strongest_activations_in_a_network_of_torchvision(net, images):
    loader = DataLoader(TensorDataset(images, torch.zeros(6)), batch_size=4)
    top = convlens.top_activations(net, loader, ["features.1"], k=2)["features.1"]
    with torch.no_grad():
        maps = net.eval().features[:2](images)
    values, order = maps.amax((2, 3)).topk(2, dim=0)  # the strongest of each image, of which the two strongest
    torch.testing.assert_close(top.values, values.T)
    assert torch.equal(top.images, order.T)
    y, x = top.positions[3, 0].tolist()
    assert maps[int(top.images[3, 0]), 3, y, x] == top.values[3, 0]


def test_a_projection_of_a_first_layer_is_its_filter_times_the_activation(net, images):
    conv = net.features[0]
    with torch.no_grad():
        maps = net.eval().features[:2](images[:1])
    m, y, x = (
        divmod(int(maps[0].argmax()), maps[0, 0].numel())[0],
        *divmod(int(maps[0].amax(0).argmax()), maps.shape[3]),
    )
    projection = convlens.project(net, images[:1], "features.1", [(0, m, y, x)])[0]
    expected = torch.zeros(3, 64, 64)
    expected[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3] = maps[0, m, y, x] * conv.weight[m].detach()
    torch.testing.assert_close(projection.detach(), expected, atol=1e-5, rtol=1e-4)


def test_a_deep_unit_is_projected_into_its_receptive_field_and_the_network_stays_as_it_was(net, images):
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    top = convlens.top_activations(net, DataLoader(TensorDataset(images), 3), ["features.4"], k=1)["features.4"]
    m = int(top.values[:, 0].argmax())
    image, *place = top.unit(m, 0)
    projection = convlens.project(net, images, "features.4", [(image, *place)])[0]
    field = convlens.receptive_field(net, "features.4", input_size=(64, 64))
    top_edge, left, bottom, right = field.box(*place[1:])
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[max(top_edge, 0) : bottom, max(left, 0) : right] = True
    assert projection[:, inside].abs().max() > 0
    assert projection[:, ~inside].abs().sum() == 0
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not any(p.grad is not None for p in net.parameters())
    net.eval()


def test_a_wrong_layer_is_answered_with_near_names(net, images):
    with pytest.raises(InputError, match=r"unknown layer 'feature\.1' in SqueezeNet: did you mean features\.1"):
        convlens.project(net, images, "feature.1", [(0, 0, 0, 0)])
