"""Muon for the layers' matrices, AdamW for embedding, head and norms."""

from typing import Any

import torch
from torch import Tensor, nn

from openeurollm.model.decoder import Decoder
from openeurollm.recipe import Model

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration, Jordan et al. 2024, "Muon: an optimizer for hidden layers"."""


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal by five Newton–Schulz steps (Jordan et al. 2024).

    Unlike `torch.optim.Muon` it stays in the parameters' type, since bfloat16 is several times slower than float32 on
    processors without units for it, and takes matrices of one shape together.
    """

    def __init__(self, parameters: list[nn.Parameter], rate: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": rate, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every matrix once."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in alike.items():
                updates = []
                for parameter in parameters:
                    state = self.state[parameter]
                    buffer = state.setdefault("momentum_buffer", torch.zeros_like(parameter))
                    gradient = parameter.grad
                    if gradient is not None:
                        buffer.lerp_(gradient, 1 - group["momentum"])
                        updates.append(gradient.lerp(buffer, group["momentum"]))
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for parameter, update in zip(parameters, orthogonal(torch.stack(updates)), strict=True):
                    parameter.add_(update, alpha=-scale)


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrix to each of a stack (n, rows, columns), to about 30 % in singular values."""
    a, b, c = _NEWTON_SCHULZ
    x: Tensor = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if matrices.shape[1] > matrices.shape[2] else x


def optimizers(decoder: Decoder, model: Model, factor: float = 1.0) -> list[torch.optim.Optimizer]:
    """The optimisers of a decoder, every rate times `factor`; each group remembers its rate as `initial_lr`."""
    matrices: list[nn.Parameter] = []
    norms: list[nn.Parameter] = []
    for parameter in decoder.model.layers.parameters():
        (matrices if parameter.ndim == 2 else norms).append(parameter)
    groups = [
        {"params": [decoder.model.embed_tokens.weight], "lr": model.embedding_rate * factor},
        {"params": [decoder.lm_head.weight], "lr": model.head_rate * factor},
        {"params": [*norms, decoder.model.norm.weight], "lr": model.head_rate * factor},
    ]
    adam = torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.0)
    muon = Muon(matrices, model.muon_rate * factor)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return [muon, adam]


def schedule(step: int, steps: int, warmup: float, decay: float) -> float:
    """Share of the full rate at a step: warm up, stay, decay to nearly zero (WSD)."""
    rising, falling = round(steps * warmup), round(steps * decay)
    up = (step + 1) / rising if step < rising else 1.0
    down = (steps - step) / falling if falling and step >= steps - falling else 1.0
    return min(up, down)
