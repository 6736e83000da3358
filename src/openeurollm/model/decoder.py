"""The decoder: Qwen3's dense family, with the names Hugging Face gives its parameters.

Shapes in comments: B sequences, T positions, D width, H query heads, K key and value heads, E width of a head, V
vocabulary.
"""

import math
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.varlen import varlen_attn
from torch.utils.checkpoint import checkpoint

from openeurollm.model.cross_entropy import cross_entropy, nats
from openeurollm.model.shape import Shape

NORM_EPSILON = 1e-6


class Norm(nn.Module):
    """Root-mean-square norm over the last dimension."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` of shape (…, width), in float32."""
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight.float(), NORM_EPSILON)


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

    def forward(self, x_BTD: Tensor, turns: Tensor, borders: Tensor | None) -> Tensor:
        """Attention to the positions before and to itself, or to those of its document: see `separate`."""
        B, T, _ = x_BTD.shape
        q_BTHE = rotate(self.q_norm(self.q_proj(x_BTD).view(B, T, -1, self.head)), turns)
        k_BTKE = rotate(self.k_norm(self.k_proj(x_BTD).view(B, T, -1, self.head)), turns)
        v_BTKE = self.v_proj(x_BTD).view(B, T, -1, self.head)
        out: Tensor = self.o_proj(attend(q_BTHE, k_BTKE, v_BTKE, borders).reshape(B, T, -1))
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

    def forward(self, x_BTD: Tensor, turns: Tensor, borders: Tensor | None) -> Tensor:
        """Apply to the whole sequence."""
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), turns, borders)
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
    """A language model: token ids in, logits of the next token out.

    `pieces_BT` numbers the documents of a row, position by position; attention stays within a document. Without it
    each row is one document. With `recompute` a layer's activations are not kept but computed again for the gradient.
    """

    def __init__(self, shape: Shape, seed: int) -> None:
        super().__init__()
        self.shape = shape
        self.recompute = False
        self.model = Trunk(shape)
        self.lm_head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        if shape.tied:
            self.lm_head.weight = self.model.embed_tokens.weight
        self._initialise(torch.Generator().manual_seed(seed))

    def hidden(self, ids_BT: Tensor, pieces_BT: Tensor | None = None) -> Tensor:
        """The normalised last hidden states, shape (B, T, D)."""
        turns = rotary(self.shape, ids_BT.shape[1], ids_BT.device)
        borders = None if pieces_BT is None else separate(pieces_BT)
        x_BTD = self.model.embed_tokens(ids_BT)
        if x_BTD.is_cuda and torch.is_autocast_enabled("cuda"):
            x_BTD = x_BTD.to(torch.get_autocast_dtype("cuda"))  # as sharded weights make it
        for layer in self.model.layers:
            if self.recompute and torch.is_grad_enabled():
                x_BTD = checkpoint(layer, x_BTD, turns, borders, use_reentrant=False, preserve_rng_state=False)
            else:
                x_BTD = layer(x_BTD, turns, borders)
        out: Tensor = self.model.norm(x_BTD)
        return out

    def forward(self, ids_BT: Tensor, pieces_BT: Tensor | None = None) -> Tensor:
        """Logits, shape (B, T, V)."""
        out: Tensor = self.lm_head(self.hidden(ids_BT, pieces_BT))
        return out

    def losses(self, ids_BT: Tensor, targets_BT: Tensor, pieces_BT: Tensor | None = None) -> Tensor:
        """Sum of the cross-entropy, in nats, over targets that are not negative; scalar."""
        hidden = self.hidden(ids_BT, pieces_BT).flatten(0, 1)
        return cross_entropy(hidden, self.lm_head.weight, targets_BT.flatten())

    @torch.no_grad()
    def nats(self, ids_BT: Tensor, targets_BT: Tensor, pieces_BT: Tensor | None = None) -> Tensor:
        """The cross-entropy at each position, 0 where the target is negative; shape (B, T), without gradient."""
        hidden = self.hidden(ids_BT, pieces_BT).flatten(0, 1)
        return nats(hidden, self.lm_head.weight, targets_BT.flatten()).view_as(ids_BT)

    def _initialise(self, generator: torch.Generator) -> None:
        """Uniform matrices of standard deviation width^-1/2; zero output projections and head; embedding of deviation
        .8, or width^-1 where it is the head as well: a token's logit for itself, all that there is at first, is then 1.
        """
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
                    parameter.zero_()
                elif name.endswith("embed_tokens.weight"):
                    spread = 1 / self.shape.width if self.shape.tied else 0.8
                    parameter.normal_(0.0, spread, generator=generator)
                elif parameter.ndim == 2:
                    bound = (3.0 / parameter.shape[1]) ** 0.5
                    parameter.uniform_(-bound, bound, generator=generator)


def separate(pieces_BT: Tensor) -> Tensor:
    """The borders of documents as attention takes them: which positions each one sees, shape (B, 1, T, T); or, where
    the device has a kernel for documents one after another, where they begin.
    """
    if not (torch.is_autocast_enabled(pieces_BT.device.type) and _has_varlen(pieces_BT.device)):
        same = pieces_BT[:, None, :, None] == pieces_BT[:, None, None, :]
        return same.tril()
    borders = begins(pieces_BT)
    torch._dynamo.maybe_mark_dynamic(borders, 0)
    return borders


def begins(pieces_BT: Tensor) -> Tensor:
    """Where the documents of all rows, one after another, begin, and where the last one ends; shape (documents + 1)."""
    first = torch.ones_like(pieces_BT, dtype=torch.bool)
    first[:, 1:] = pieces_BT[:, 1:] != pieces_BT[:, :-1]
    places = first.flatten().nonzero().squeeze(1)
    return F.pad(places, (0, 1), value=pieces_BT.numel()).int()


@cache
def _has_varlen(device: torch.device) -> bool:
    """FlashAttention for documents of any length: on NVIDIA from Ampere on, in bfloat16."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def attend(q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor, borders: Tensor | None) -> Tensor:
    """What each position takes of the values, shape (B, T, H, E): of all up to its own where there are no `borders`."""
    q_BTHE, k_BTKE = q_BTHE.to(v_BTKE.dtype), k_BTKE.to(v_BTKE.dtype)
    if borders is not None and borders.ndim == 1:
        q, k, v = (x.flatten(0, 1) for x in (q_BTHE, k_BTKE, v_BTKE))
        length = q_BTHE.shape[1]
        y = varlen_attn(q, k, v, borders, borders, length, length, window_size=(-1, 0), enable_gqa=True)
        assert isinstance(y, Tensor)
        return y.view_as(q_BTHE)
    q, k, v = (x.transpose(1, 2) for x in (q_BTHE, k_BTKE, v_BTKE))
    groups = q.shape[1] // k.shape[1]
    if q.is_cuda and borders is not None:  # no kernel takes a mask and fewer heads of keys
        k, v, groups = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1), 1
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=borders, is_causal=borders is None, enable_gqa=groups > 1)
    return y.transpose(1, 2)


def rotary(shape: Shape, length: int, device: torch.device) -> Tensor:
    """Cosine and sine by which positions turn pairs of dimensions, shape (2, length, head / 2).

    `linear` scaling divides all frequencies by the factor; `yarn` only those that turn less than 32 times within the
    original context, and by less where they turn more than once, and sharpens attention (Peng et al. 2023, "YaRN:
    Efficient Context Window Extension of Large Language Models").
    """
    frequencies = shape.rope_base ** (-torch.arange(0, shape.head, 2, device=device, dtype=torch.float32) / shape.head)
    scale = 1.0
    if shape.rope_scaling == "linear":
        frequencies = frequencies / shape.rope_factor
    elif shape.rope_scaling == "yarn":
        low, high = (_turning(shape, times) for times in (32.0, 1.0))
        low, high = max(math.floor(low), 0), min(math.ceil(high), shape.head - 1)
        steps = torch.arange(shape.head // 2, device=device, dtype=torch.float32)
        kept = 1 - ((steps - low) / max(high - low, 0.001)).clamp(0, 1)
        frequencies = frequencies * kept + frequencies / shape.rope_factor * (1 - kept)
        scale = 0.1 * math.log(shape.rope_factor) + 1
    angles = torch.outer(torch.arange(length, device=device, dtype=torch.float32), frequencies)
    return torch.stack((angles.cos(), angles.sin())) * scale


def _turning(shape: Shape, times: float) -> float:
    """Which pair of dimensions, counted from 0, turns so many times within the original context."""
    turns = math.log(shape.original_context / (times * 2 * math.pi))
    return shape.head * turns / (2 * math.log(shape.rope_base))


def rotate(x_BTHE: Tensor, turns: Tensor) -> Tensor:
    """Turn queries or keys by their positions: the first half of a head's dimensions against the second."""
    cos, sin = turns[:, :, None]
    first, second = x_BTHE.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
