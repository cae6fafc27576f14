"""SimBa: a residual network with LayerNorm for critics (Lee et al. 2024, arXiv 2410.09754), k of one shape at once.

Running normalization of the observation, a linear embedding, residual blocks of LayerNorm and an inverted bottleneck, a last
LayerNorm, a linear head. Its point is a bias towards simple functions, so that a critic may be wide without overfitting.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EXPANSION = 4
"""Width of a block's inner layer, in widths of the block (the paper's)."""
EPSILON = 1e-8
"""Added to the variance of an observation."""


class RunningNorm(nn.Module):
    """(x - mean) / sqrt(variance + epsilon) over everything :meth:`learn` has seen, merged in float64 (Chan et al. 1979)."""

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def learn(self, x: Tensor) -> None:
        """Merge x [n, size]."""
        variance, mean = torch.var_mean(x.double(), dim=0, correction=0)
        total = self.count + len(x)
        delta, share = mean - self.mean, len(x) / total
        self.variance.mul_(1 - share).add_(variance * share + delta.square() * (share * (1 - share)))
        self.mean.add_(delta * share)
        self.count.copy_(total)

    def forward(self, x: Tensor) -> Tensor:
        """x [n, size] float32 -> the same shape; nothing is learned here."""
        return (x - self.mean.float()) * torch.rsqrt(self.variance + EPSILON).float()


class SimBa(nn.Module):
    """``count`` networks x [n, in_size] -> y [count, n, out_size]; every product is one batched product.

    The first ``normalized`` columns of x (None: all) pass a :class:`RunningNorm` that the networks share, ``norm``.
    Weights start orthogonal in embedding and head and He-normal in the blocks, biases at zero. ``generator`` is a CPU one.
    """

    def __init__(
        self,
        in_size: int,
        width: int = 128,
        blocks: int = 2,
        out_size: int = 1,
        count: int = 1,
        normalized: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.width, self.blocks = width, blocks
        self.norm = RunningNorm(in_size if normalized is None else normalized)

        def linear(name: str, fan_in: int, fan_out: int, orthogonal: bool) -> None:
            weight = torch.empty(count, fan_in, fan_out)
            for one in weight:
                if orthogonal:
                    nn.init.orthogonal_(one, generator=generator)
                else:
                    one.normal_(0.0, math.sqrt(2 / fan_in), generator=generator)
            self.register_parameter(f"{name}_weight", nn.Parameter(weight))
            self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(count, 1, fan_out)))

        linear("embedding", in_size, width, orthogonal=True)
        for block in range(blocks):
            self._scale(f"norm{block}", count)
            linear(f"wide{block}", width, EXPANSION * width, orthogonal=False)
            linear(f"narrow{block}", EXPANSION * width, width, orthogonal=False)
        self._scale("last", count)
        linear("head", width, out_size, orthogonal=True)

    def _scale(self, name: str, count: int) -> None:
        self.register_parameter(f"{name}_weight", nn.Parameter(torch.ones(count, 1, self.width)))
        self.register_parameter(f"{name}_bias", nn.Parameter(torch.zeros(count, 1, self.width)))

    def forward(self, x: Tensor, only: int | None = None) -> Tensor:
        """x [n, in_size] -> y [count, n, out_size]; with ``only``, of that network alone [1, n, out_size]."""
        mine = slice(None) if only is None else slice(only, only + 1)
        parameters = {name: parameter[mine] for name, parameter in self.named_parameters()}

        def linear(name: str, y: Tensor) -> Tensor:
            return torch.baddbmm(parameters[f"{name}_bias"], y, parameters[f"{name}_weight"])

        def normed(name: str, y: Tensor) -> Tensor:
            return torch.addcmul(parameters[f"{name}_bias"], F.layer_norm(y, (self.width,)), parameters[f"{name}_weight"])

        columns = self.norm.mean.shape[0]
        x = torch.cat([self.norm(x[:, :columns]), x[:, columns:]], dim=1)
        y = linear("embedding", x.expand(len(parameters["head_bias"]), -1, -1))
        for block in range(self.blocks):
            y = y + linear(f"narrow{block}", torch.relu(linear(f"wide{block}", normed(f"norm{block}", y))))
        return linear("head", normed("last", y))
