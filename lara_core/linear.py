"""Linear maps for a CPU: a weight goes in, what computes x @ weight.T with it comes out, as fast as reading the weight allows.

Sampling multiplies every weight with a few rows, so the time is that of reading it: half the bytes where its values are float16
numbers (as model files store them), a quarter with int8. A row's result is the same to the bit whatever other rows there are, so
that a take made beside others is the take made alone.
"""

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS_AT_ONCE = 3  # fbgemm adds floats up in another order for one or two rows than for more: they are filled up
LEVELS = 63  # of an activation, to either side: 2 * 63 * 127 still fits the 16 bits in which AVX2 adds two products
ZERO = LEVELS + 1  # where an activation of 0 stands among unsigned bytes


class PackedLinear(nn.Module):
    """x [..., D] float32 -> x @ weight.T + bias [..., N] on the CPU, from a copy of the weight in the order it is read in. It can't
    be trained, moved or saved.

    int8: weights are rounded to 255 levels per output. Activations are not: they go in as the sum of two 7-bit numbers, two rows
    for one, which costs little where reading the weights is what takes time.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, int8: bool = False):
        super().__init__()
        weight, bias = weight.detach().float(), None if bias is None else bias.detach().float().clone()
        if int8:
            self.kind, pack = ("int8 vnni", _pack_vnni) if has_vnni() else ("int8 fbgemm", _pack_fbgemm) if has_fbgemm() else ("int8 plain", quantised)
            self.packed = pack(weight)
        elif has_fbgemm() and torch.equal(weight.half().float(), weight):
            self.kind, self.packed = "float16", torch.ops.quantized.linear_prepack_fp16(weight, None)
        elif torch.backends.mkldnn.is_available():
            self.kind, self.packed = "float32", torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
        else:
            self.kind, self.packed = "float32 plain", weight.clone()
        self.bias, self.n_outputs = bias, len(weight)

    def forward(self, x: Tensor) -> Tensor:
        y = getattr(self, "_" + self.kind.replace(" ", "_"))(x.reshape(-1, x.shape[-1]))
        if self.bias is not None:
            y += self.bias
        return y.view(*x.shape[:-1], self.n_outputs)

    def _float16(self, x: Tensor) -> Tensor:
        rows, missing = len(x), -len(x) % ROWS_AT_ONCE
        y = torch.ops.quantized.linear_dynamic_fp16(F.pad(x, (0, 0, 0, missing)) if missing else x, self.packed)
        return y[:rows]

    def _float32(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, None, "none", [], "")

    def _float32_plain(self, x: Tensor) -> Tensor:
        return F.linear(x, self.packed)

    def _int8_vnni(self, x: Tensor) -> Tensor:
        weight, weight_scale, zeros = self.packed  # unsigned activations: for signed ones oneDNN has kernels with AMX alone, and a slow stand-in else
        return _by_parts(x, lambda parts: torch.ops.onednn.qlinear_pointwise(
            parts.round_().add_(ZERO).to(torch.uint8), 1.0, ZERO, weight, weight_scale, zeros, None, 1.0, 0, torch.float32, "none", [], ""))

    def _int8_fbgemm(self, x: Tensor) -> Tensor:
        return _by_parts(x, lambda parts: torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(parts, 1.0, ZERO, self.packed))

    def _int8_plain(self, x: Tensor) -> Tensor:
        """The twin of both in torch's plainest operators."""
        weight, weight_scale = self.packed
        return _by_parts(x, lambda parts: F.linear(parts.round_(), weight.float()).mul_(weight_scale))


def has_fbgemm() -> bool:
    """Whether this torch has its x86 kernels for few rows."""
    return torch.backends.quantized.engine in ("fbgemm", "x86")


def has_vnni() -> bool:
    """Whether this CPU multiplies bytes and adds in 32 bits at once, and this torch has oneDNN's kernels for that."""
    supported = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    return supported() and torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qlinear_pointwise")


def has_amx() -> bool:
    """Whether this CPU multiplies small matrices of bfloat16 at once."""
    return getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()


def in_two_parts(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows [B,D] -> scale [B,1], whole numbers, and what they leave: x = scale * (coarse + fine / (2 * LEVELS)), both within LEVELS."""
    scale = x.abs().amax(-1, keepdim=True).clamp_min_(1e-30).div_(LEVELS)
    levels = x / scale
    coarse = levels.round()
    return scale, coarse, levels.sub_(coarse).mul_(2 * LEVELS)


def _by_parts(x: Tensor, multiply: Callable[[Tensor], Tensor]) -> Tensor:
    """x @ weight.T by a `multiply` for whole numbers within LEVELS, which gets coarse rows and fine ones at once."""
    scale, coarse, fine = in_two_parts(x)
    a, b = multiply(torch.cat([coarse, fine])).chunk(2)
    return a.add_(b, alpha=0.5 / LEVELS).mul_(scale)


def quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weight [N,D] -> int8 [N,D] and its scale [N]."""
    scale = weight.abs().amax(1).clamp_min(1e-30) / 127
    return (weight / scale[:, None]).round().to(torch.int8), scale


def _pack_vnni(weight: Tensor):
    whole, scale = quantised(weight)
    return torch.ops.onednn.qlinear_prepack(whole, None), scale, torch.zeros(len(whole), dtype=torch.long)


def _pack_fbgemm(weight: Tensor):
    whole, scale = quantised(weight)
    with warnings.catch_warnings():  # torch plans to drop the tensor type that carries the numbers into its own packing
        warnings.simplefilter("ignore")
        carrier = torch._make_per_channel_quantized_tensor(whole, scale.double(), torch.zeros(len(whole), dtype=torch.long), 0)
        return torch.ops.quantized.linear_prepack(carrier, None)


def fast_linear(linear: nn.Module) -> nn.Module:
    """What computes as nn.Linear `linear`, as fast as its device and type allow; a PackedLinear as it is."""
    if isinstance(linear, nn.Linear) and linear.weight.device.type == "cpu" and linear.weight.dtype == torch.float32:
        return PackedLinear(linear.weight, linear.bias)
    return linear
