"""LoRA (Hu et al. 2021, arXiv 2106.09685): a Decoder goes in, its blocks' matrices are frozen and learn a low-rank change."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lara_core.decoder import Decoder


class LoRALinear(nn.Module):
    """A frozen linear layer plus lora_b @ lora_a, which begins as zero (section 4.1). lora_a [R,in], lora_b [out,R]."""

    def __init__(self, base: nn.Linear, rank: int):
        super().__init__()
        self.base = base
        self.lora_a = nn.Parameter(torch.empty(rank, base.in_features))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + F.linear(F.linear(x, self.lora_a), self.lora_b)


def add_lora(decoder: Decoder, rank: int) -> None:
    """Freeze the decoder but for its AV encoder, and let every matrix of its blocks learn a change of this rank."""
    decoder.requires_grad_(False)
    if decoder.av_encoder is not None:
        decoder.av_encoder.requires_grad_(True)
    for block in decoder.blocks:
        for name, layer in list(block.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(block, name, LoRALinear(layer, rank))
