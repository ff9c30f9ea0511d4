"""Sharpness of pictures: sparsity (Gini coefficient) and edge coherence (paper, ECCV text, footnote 1)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

NEIGHBOURHOOD = 5
"""Side of the square over which gradients are averaged, in pixels."""


def gini(pictures: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Return the Gini coefficient of the magnitudes: 0 if all are equal, near 1 if few hold the sum.

    Hurley and Rickard 2009 find it the best of the measures of sparsity. NaN for a picture of zeros.
    """
    magnitudes = pictures.abs().flatten(1).double().sort(dim=1).values
    count = magnitudes.shape[1]
    weights = (2 * torch.arange(1, count + 1, dtype=torch.float64) - count - 1) / count
    return (magnitudes @ weights / magnitudes.sum(1)).to(pictures.dtype)


def edge_coherence(pictures: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Return how well neighbouring gradients agree in direction: 1 for straight edges, near 0 for noise.

    The structure tensor is summed over channels and averaged over 5 x 5 pixels; coherence is the difference of its
    eigenvalues over their sum (Jähne, Digital Image Processing, chapter on simple neighbourhoods), averaged over the
    picture with the gradient's strength as weight. NaN for a picture without gradients or with a side below 3 pixels.
    """
    if min(pictures.shape[-2:]) < 3:
        return torch.full((len(pictures),), torch.nan)
    pictures = pictures.double()
    # Central differences at the pixels that have all four neighbours.
    dy = (pictures[..., 2:, 1:-1] - pictures[..., :-2, 1:-1]) / 2
    dx = (pictures[..., 1:-1, 2:] - pictures[..., 1:-1, :-2]) / 2
    tensor = torch.stack([(dy * dy).sum(1), (dx * dx).sum(1), (dy * dx).sum(1)], 1)
    pad = NEIGHBOURHOOD // 2
    yy, xx, yx = F.avg_pool2d(tensor, NEIGHBOURHOOD, 1, pad, count_include_pad=True).unbind(1)
    difference = ((yy - xx).square() + 4 * yx.square()).sqrt()
    return (difference.flatten(1).sum(1) / (yy + xx).flatten(1).sum(1)).float()
