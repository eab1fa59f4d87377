"""A small EnCodec from scratch, for the reduced copy of the audio path (training/reduced.py): sounds go in, an EncodecModel comes out.

The encoder begins with weights that the data have scaled (Salimans & Kingma 2016, arXiv 1602.07868, section 3): else it says nearly the
same of every sound for thousands of steps. It and the decoder are trained by the L1 of waves and of log-magnitude spectra at four
resolutions; first alone, then with residual vector quantisation between them, whose codebooks begin as k-means and go on as running means (van den Oord et al. 2017, appendix A.1; Defossez et al. 2022, arXiv 2210.13438). There
is no adversary, which is what makes EnCodec's sound crisp and what takes GPU-days: expect the melody and the loudness, dulled.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm
from transformers import EncodecConfig, EncodecModel

SPECTRA = (128, 256, 512, 1024)  # samples a window
DECAY, COMMITMENT = 0.95, 0.1  # commitment: of the encoder's own variance
ALONE = 0.35  # of the steps, without the quantiser
LLOYD_STEPS, GATHERED = 10, 4096  # of k-means, on so many frames


def small_encodec(sample_rate_hz: int = 8_000, n_filters: int = 8, width: int = 64, codebook_size: int = 256, n_codebooks: int = 4) -> EncodecModel:
    """50 frames a second; the long strides stand at the sound's side, where they save the most work."""
    ratios = [2, 4, 5, sample_rate_hz // 2000]
    bandwidth = 50 * n_codebooks * np.log2(codebook_size) / 1000
    return EncodecModel(EncodecConfig(sampling_rate=sample_rate_hz, upsampling_ratios=ratios, num_filters=n_filters, hidden_size=width,
                                      codebook_size=codebook_size, codebook_dim=width, target_bandwidths=[bandwidth], num_lstm_layers=1,
                                      use_causal_conv=False, norm_type="weight_norm"))


def spectral_loss(x: Tensor, y: Tensor) -> Tensor:
    """Mean L1 of log-magnitude spectra over SPECTRA, waves [B,T]."""
    total = 0.0
    for size in SPECTRA:
        window = torch.hann_window(size, device=x.device)
        a, b = (torch.stft(w, size, size // 4, window=window, return_complex=True).abs() for w in (x, y))
        total = total + (torch.log10(a + 1e-2) - torch.log10(b + 1e-2)).abs().mean() + 0.3 * (a - b).abs().mean() / (a.mean() + 1e-3)
    return total / len(SPECTRA)


def scaled_by_data(encoder: torch.nn.Module, x: Tensor) -> None:
    """Set gain and bias of every weight-normalised convolution so that its outputs for the waves x [B,1,T] have mean 0 and variance 1."""
    def scale(convolution, _inputs, output):
        mean, deviation = output.mean((0, 2)), output.std((0, 2)) + 1e-4
        convolution.parametrizations.weight.original0.data.div_(deviation[:, None, None])
        convolution.bias.data.sub_(mean).div_(deviation)
        return (output - mean[:, None]) / deviation[:, None]

    hooks = [module.register_forward_hook(scale) for module in encoder.modules() if isinstance(module, torch.nn.Conv1d)]
    with torch.no_grad():
        encoder(x)
    for hook in hooks:
        hook.remove()


class Quantiser:
    """The codebooks of an EncodecModel while they are trained: nearest entries, and running means of what they stood for.

    frames [N,D]: what the encoder gives when the quantiser comes in; the codebooks begin as k-means of them and of what is left of them.
    """

    def __init__(self, model: EncodecModel, frames: Tensor, generator: torch.Generator):
        self.books, self.generator = [layer.codebook for layer in model.quantizer.layers], generator
        self.counts = [torch.ones(len(book.embed)) for book in self.books]
        self.spread = float(frames.var())
        rest = frames
        for book, counts in zip(self.books, self.counts):
            book.embed.copy_(self._drawn(rest, len(book.embed)))
            for _ in range(LLOYD_STEPS):
                self._move(book, counts, rest, self._nearest(book, rest), 0.0)
            counts.fill_(1.0)
            rest = rest - book.embed[self._nearest(book, rest)]

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z [B,D,F] -> quantised, with the gradient of z, and the commitment loss."""
        flat = z.transpose(1, 2).reshape(-1, z.shape[1])  # [N,D]
        rest, total, commitment = flat, torch.zeros_like(flat), 0.0
        for book, counts in zip(self.books, self.counts):
            x = rest.detach()
            index = self._nearest(book, x)
            entry = book.embed[index]
            commitment = commitment + (rest - entry).square().mean()
            self._move(book, counts, x, index, DECAY)
            total, rest = total + entry, rest - entry
        straight = flat + (total - flat).detach()
        return straight.view(z.shape[0], z.shape[2], -1).transpose(1, 2), commitment / (len(self.books) * self.spread)

    def _drawn(self, x: Tensor, n: int) -> Tensor:
        return x[torch.randint(len(x), (n,), generator=self.generator)]

    def _nearest(self, book, x: Tensor) -> Tensor:
        return torch.cdist(x, book.embed).argmin(1)

    def _move(self, book, counts: Tensor, x: Tensor, index: Tensor, decay: float) -> None:
        """Entries become means: of the past by `decay`, of what they stand for now by the rest; unused ones become some of x."""
        now = torch.bincount(index, minlength=len(counts)).float()
        sums = torch.zeros_like(book.embed).index_add_(0, index, x)
        means = book.embed * counts[:, None] * decay + sums * (1 - decay)
        counts.mul_(decay).add_(now, alpha=1 - decay)
        book.embed.copy_(means / counts[:, None].clamp_min(1e-6))
        unused = counts < 0.03
        if unused.any():
            book.embed[unused], counts[unused] = self._drawn(x, int(unused.sum())), 0.5


def train_codec(model: EncodecModel, sounds: np.ndarray, steps: int, batch: int = 8, lr: float = 1e-3, seed: int = 0) -> list[float]:
    """sounds [N,T] at the model's rate; crops of 1 s -> the spectral loss of every step. The model is changed in place."""
    generator = torch.Generator().manual_seed(seed)
    quantise, gathered, alone, crop = None, [], max(1, round(ALONE * steps)), model.config.sampling_rate

    def crops() -> Tensor:  # [B,1,T]
        rows, starts = (torch.randint(high, (batch,), generator=generator).tolist() for high in (len(sounds), sounds.shape[1] - crop))
        return torch.stack([torch.from_numpy(sounds[row, start:start + crop]) for row, start in zip(rows, starts)])[:, None]

    scaled_by_data(model.encoder, crops())
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.8, 0.99))
    losses = []
    model.train()
    for step in (bar := tqdm(range(steps), desc="codec", unit="step")):
        x = crops()
        z, commitment = model.encoder(x), 0.0
        if step < alone:
            gathered = [*gathered, z.detach().transpose(1, 2).flatten(0, 1)][-GATHERED // (batch * z.shape[2]):]
        else:
            quantise = quantise or Quantiser(model, torch.cat(gathered), generator)
            z, commitment = quantise(z)
        y = model.decoder(z)[..., :crop]
        spectral = spectral_loss(x[:, 0], y[:, 0])
        loss = spectral + 0.3 * F.l1_loss(y, x) / (x.abs().mean() + 1e-3) + COMMITMENT * commitment
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / 50, (steps - step) / (0.3 * steps))
        optimizer.step()
        losses.append(spectral.item())
        bar.set_postfix(spectral=round(float(np.mean(losses[-50:])), 3))
    model.eval()
    return losses
