"""The decoder: Qwen3's dense family, with the names Hugging Face gives its parameters.

Shapes in comments: B sequences, T positions, D width, H query heads, K key and value heads, E width of a head, V
vocabulary.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from openeurollm.model.shape import Shape

ROPE_BASE = 10_000.0
NORM_EPSILON = 1e-6


class Norm(nn.Module):
    """Root-mean-square norm over the last dimension."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` of shape (…, width)."""
        return F.rms_norm(x, (x.shape[-1],), self.weight, NORM_EPSILON)


class Attention(nn.Module):
    """Grouped-query attention with normalised queries and keys and rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.head = shape.head
        self.q_proj = nn.Linear(shape.width, shape.heads * shape.head, bias=False)
        self.k_proj = nn.Linear(shape.width, shape.key_value_heads * shape.head, bias=False)
        self.v_proj = nn.Linear(shape.width, shape.key_value_heads * shape.head, bias=False)
        self.o_proj = nn.Linear(shape.heads * shape.head, shape.width, bias=False)
        self.q_norm = Norm(shape.head)
        self.k_norm = Norm(shape.head)

    def forward(self, x_BTD: Tensor, cos_TE: Tensor, sin_TE: Tensor) -> Tensor:
        """Causal attention over the sequence."""
        B, T, _ = x_BTD.shape
        q = self.q_norm(self.q_proj(x_BTD).view(B, T, -1, self.head)).transpose(1, 2)  # B H T E
        k = self.k_norm(self.k_proj(x_BTD).view(B, T, -1, self.head)).transpose(1, 2)  # B K T E
        v = self.v_proj(x_BTD).view(B, T, -1, self.head).transpose(1, 2)
        q, k = rotate(q, cos_TE, sin_TE), rotate(k, cos_TE, sin_TE)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=k.shape[1] != q.shape[1])
        out: Tensor = self.o_proj(y.transpose(1, 2).reshape(B, T, -1))
        return out


class FeedForward(nn.Module):
    """Gated feed-forward layer (SwiGLU)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.down_proj = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to every position."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """One layer: attention and feed-forward, each on a normalised input and added to the stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = FeedForward(shape)
        self.input_layernorm = Norm(shape.width)
        self.post_attention_layernorm = Norm(shape.width)

    def forward(self, x_BTD: Tensor, cos_TE: Tensor, sin_TE: Tensor) -> Tensor:
        """Apply to the whole sequence."""
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), cos_TE, sin_TE)
        out: Tensor = x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))
        return out


class Trunk(nn.Module):
    """Embedding, layers and last norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.width)


class Decoder(nn.Module):
    """A language model: token ids in, logits of the next token out."""

    def __init__(self, shape: Shape, seed: int) -> None:
        super().__init__()
        self.shape = shape
        self.model = Trunk(shape)
        self.lm_head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        self._initialise(torch.Generator().manual_seed(seed))

    def hidden(self, ids_BT: Tensor) -> Tensor:
        """The normalised last hidden states, shape (B, T, D)."""
        cos_TE, sin_TE = rotary(ids_BT.shape[1], self.shape.head, ids_BT.device)
        x_BTD = self.model.embed_tokens(ids_BT)
        for layer in self.model.layers:
            x_BTD = layer(x_BTD, cos_TE, sin_TE)
        out: Tensor = self.model.norm(x_BTD)
        return out

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Logits, shape (B, T, V)."""
        out: Tensor = self.lm_head(self.hidden(ids_BT))
        return out

    def losses(self, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Sum of the cross-entropy, in nats, over targets that are not -100; scalar."""
        logits = self(ids_BT)
        return F.cross_entropy(logits.flatten(0, 1), targets_BT.flatten(), ignore_index=-100, reduction="sum")

    def _initialise(self, generator: torch.Generator) -> None:
        """Uniform matrices of standard deviation width^-1/2; zero output projections and head; embedding of deviation
        .8.
        """
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
                    parameter.zero_()
                elif name.endswith("embed_tokens.weight"):
                    parameter.normal_(0.0, 0.8, generator=generator)
                elif parameter.ndim == 2:
                    bound = (3.0 / parameter.shape[1]) ** 0.5
                    parameter.uniform_(-bound, bound, generator=generator)


def rotary(length: int, head: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotary positions, each of shape (length, head)."""
    frequencies = ROPE_BASE ** (-torch.arange(0, head, 2, device=device, dtype=torch.float32) / head)
    angles = torch.outer(torch.arange(length, device=device, dtype=torch.float32), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos_TE: Tensor, sin_TE: Tensor) -> Tensor:
    """Turn queries or keys of shape (B, heads, T, E) by their positions."""
    first, second = x.chunk(2, dim=-1)
    return x * cos_TE + torch.cat((-second, first), dim=-1) * sin_TE
