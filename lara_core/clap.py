"""Text-audio agreement: a sound file and a text go in, the cosine between their CLAP embeddings comes out.

CLAP is Wu et al. 2023, arXiv 2211.06687, through transformers.ClapModel. No such model ships: the user names a folder or hub id.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from .audio import Audio, resample

WINDOW_SECONDS = 10  # what CLAP was trained on


class TextAudio:
    """A CLAP model from a folder (config.json, weights, tokenizer, preprocessor_config.json) or a hub id, which is downloaded
    unless it is in the cache already. Raises ValueError in one sentence for what is no such model."""

    def __init__(self, folder_or_hub_id: str | Path):
        from transformers import AutoConfig, AutoFeatureExtractor, AutoTokenizer, ClapModel

        source = str(folder_or_hub_id)
        try:
            if AutoConfig.from_pretrained(source).model_type != "clap":
                raise ValueError("it is not a CLAP model")
            self._model = ClapModel.from_pretrained(source, use_safetensors=True).eval().requires_grad_(False)
            self._tokenizer, self._extractor = AutoTokenizer.from_pretrained(source), AutoFeatureExtractor.from_pretrained(source)
        except (OSError, ValueError, ImportError) as error:
            raise ValueError(f"the CLAP model {source} cannot be loaded ({str(error).splitlines()[0].rstrip('.')}); name a folder, or a hub "
                             "id such as laion/larger_clap_music") from error

    def agreement(self, path: str | Path, text: str) -> float:
        """Mean over windows of 10 s of the cosine, -1 to 1; a rest of less than half a window counts only on its own."""
        tokens = self._tokenizer([text], return_tensors="pt", truncation=True)
        wanted = self._unit(self._model.get_text_features(**tokens))
        rate_hz = self._extractor.sampling_rate
        cosines = []
        for window in _windows(path, rate_hz):
            heard = self._extractor([window], sampling_rate=rate_hz, return_tensors="pt")
            cosines.append(float((self._unit(self._model.get_audio_features(**heard)) * wanted).sum()))
        return float(np.mean(cosines))

    @staticmethod
    def _unit(features) -> torch.Tensor:
        """[1, D]; newer versions of transformers wrap what older ones return."""
        features = features if isinstance(features, torch.Tensor) else features.pooler_output
        return torch.nn.functional.normalize(features, dim=-1)


def _windows(path: str | Path, rate_hz: int) -> Iterator[np.ndarray]:
    """Mono windows [t] of a file at `rate_hz`, read one by one."""
    import soundfile

    with soundfile.SoundFile(path) as file:
        size = WINDOW_SECONDS * file.samplerate
        for index, block in enumerate(file.blocks(size, dtype="float32", always_2d=True)):
            if index == 0 or len(block) >= size / 2:
                yield resample(Audio(np.ascontiguousarray(block.mean(1)[None]), file.samplerate), rate_hz).samples[0]
