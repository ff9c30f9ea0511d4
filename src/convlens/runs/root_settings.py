"""Types of the settings outside of tasks: those of every command, of the recipe and of the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from convlens.runs.value_bounds import Above, AtLeast, Between, Count, Folder, Matching, Package, Pixel, Positive

Node = Mapping[str, Any]
"""Settings with a ``_target_``, which are checked against the annotations of what they make."""


@dataclass(frozen=True)
class RootSettings:
    """Settings of every command; ``conf/config.yaml`` has their values and what they mean."""

    seed: Annotated[int, Between(0, 2**32 - 1)]
    run: str | None
    output_root: Folder
    job_name: Folder
    run_dir: str
    force: bool
    trust: bool | Sequence[Package]
    checkpoint_every: Positive | None
    data_dir: Folder
    cache_dir: Folder
    sweep: str | None = None


@dataclass(frozen=True)
class RecipeSettings:
    """Settings of the training; ``conf/recipe`` has their values and what they mean."""

    init: Literal["he", "gaussian"]
    dropout: Annotated[float, Between(0, 1)]
    max_filter_rms: Annotated[float, Above(0)] | None
    batch_size: Positive
    max_epochs: Positive
    input_std: Annotated[float, Above(0)] | Sequence[Annotated[float, Above(0)]]
    backbone_lr_scale: Annotated[float, AtLeast(0)]
    optimizer: Node
    scheduler: Node | None


@dataclass(frozen=True)
class ModelSettings:
    """Settings of the network besides its constructor's; ``conf/model`` has their values and what they mean."""

    name: str
    net: Node
    input_mean: Literal["train"] | str | Sequence[Pixel]
    input_std: Annotated[float, Above(0)] | Sequence[Annotated[float, Above(0)]]
    weights: str | None
    pretrained: str | None


@dataclass(frozen=True)
class DeviceSettings:
    """Settings of Lightning's trainer that are checked before any process starts."""

    max_epochs: Positive
    devices: Positive | Literal["auto", "-1", -1] | Annotated[str, Matching(r"\d+(,\d*)+", "0,1")] | Sequence[Count]
    num_nodes: Positive
    accumulate_grad_batches: Positive
    accelerator: Annotated[str, Matching(r"[A-Za-z]\w*", "auto, cpu or gpu")] | Node = "auto"
    strategy: Annotated[str, Matching(r"[A-Za-z]\w*", "auto or ddp")] | Node = "auto"
