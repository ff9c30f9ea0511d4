"""Networks of random operations, for property tests."""

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F


class RandomNet(nn.Module):
    """A network of random operations on four maps."""

    def __init__(self, steps: list[tuple]) -> None:
        super().__init__()
        self.steps = steps
        self.weights = nn.ParameterList(
            torch.randn(4, 4, s[1], s[1]) for s in steps if s[0] in ("conv", "skip", "join")
        )
        self.last = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        weights = iter(self.weights)
        for kind, kernel, stride, padding, *more in self.steps:
            if kind == "conv":
                x = F.relu(F.conv2d(x, next(weights), None, stride, padding, more[0]))
            elif kind == "skip":
                x = F.conv2d(F.relu(x), next(weights), padding=kernel // 2) + x
            elif kind == "join":
                x = torch.cat([x[:, :2], F.conv2d(x, next(weights), padding=kernel // 2).relu_()[:, 1:3]], 1)
            elif kind == "max":
                x = F.max_pool2d(x, kernel, stride, min(padding, kernel // 2), ceil_mode=more[0] == 2)
            elif kind == "mean":
                x = F.avg_pool2d(x, kernel, stride, min(padding, kernel // 2))
            elif kind == "pad":
                x = F.pad(x, (kernel, stride, padding, 1), value=0.5)
            else:
                x = F.local_response_norm(x, 3, alpha=0.1)
        return self.last(F.relu(x))


steps = st.lists(
    st.tuples(
        st.sampled_from(["conv", "conv", "conv", "skip", "join", "max", "max", "mean", "pad", "norm"]),
        st.sampled_from([1, 2, 3, 5]),
        st.integers(1, 3),
        st.integers(0, 2),
        st.integers(1, 2),
    ).map(lambda s: (s[0], s[1] | (s[0] in ("skip", "join")), *s[2:])),
    min_size=1,
    max_size=6,
)
