"""Training a small codec of EnCodec's layout: MERT's acoustic teacher where the published EnCodec cannot be had.

    mulan train codec configs/train/codec-mini.toml --manifest corpus/manifest.jsonl --out codec

A stand-in, to compare teachers of the same music; its codes are not EnCodec's. Encoder and decoder learn as an
autoencoder; after the last step k-means fits the codebooks to what the encoder gives.

Source: EnCodec, arXiv:2210.13438. Differs: no adversary and no balancer of losses; spectra of linear frequency, not
mel; codebooks fitted in the end, so neither encoder nor decoder knows of them; narrower layers and a far shorter run.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from accelerate import Accelerator
from pydantic import PositiveFloat, PositiveInt, model_validator
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import EncodecConfig, EncodecModel

from data.loader import Batch, Clips, centred_batches
from data.manifest import Track, tracks_digest
from data.shards import ShardCache
from mulan.distributed import Share
from mulan.hub import CONFIG_FILE, SAFETENSORS_FILE
from mulan.mel import MSD_STD, SAMPLE_RATE, LogMel
from mulan.rvq import CodeUsage
from mulan.training.config import TrainingConfig
from mulan.training.loop import Numbers, run_batches, seed_of

_CODES = 1024  # of each codebook: with 75 frames a second, 0.75 kbit/s
_FITTED, _JUDGED = 256, 256  # clips for k-means; training clips that stand in where no track is for validation
_KMEANS_ROUNDS = 6
_WINDOWS = (256, 512, 1024, 2048)  # samples, of the spectra that are compared
_QUIETEST = 1e-3  # magnitude below which two spectra are both silent
_WAVEFORM_WEIGHT = 10.0


class CodecTrainConfig(TrainingConfig):
    """A codec's run. Its clips are short, so a step is never cut into micro-batches.

    Attributes:
        filters: channels of the first layer; the last has 16 times as many (EnCodec: 32).
        dim: width of a code (EnCodec: 128).
        lstm_layers: in the encoder and in the decoder (EnCodec: 2).
        clip_seconds: length of a crop.
    """

    filters: PositiveInt = 4
    dim: PositiveInt = 64
    lstm_layers: PositiveInt = 1
    clip_seconds: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _check_codec(self) -> Self:
        if self.micro_batch is not None:
            raise ValueError(f"micro_batch = {self.micro_batch}: a codec takes its batch whole; leave it out")
        return self

    def encodec(self) -> EncodecConfig:
        """EnCodec's own settings (24 kHz mono, 320 samples a frame), but for the sizes."""
        return EncodecConfig(
            num_filters=self.filters,
            hidden_size=self.dim,
            codebook_dim=self.dim,
            num_lstm_layers=self.lstm_layers,
            target_bandwidths=[1.5, 3.0, 6.0],  # kbit/s; the last one makes the codebooks eight
        )


class Codec(nn.Module):
    """An autoencoder, always in float32, and between its halves a quantiser as soon as the codebooks are fitted."""

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__()
        self.encodec = EncodecModel(config)
        self.codebooks: list[Any] = [layer.codebook for layer in self.encodec.quantizer.layers]
        for codebook in self.codebooks:
            codebook.inited.zero_()

    @property
    def is_fitted(self) -> bool:
        """Whether the codebooks hold codes."""
        return bool(self.codebooks[-1].inited)

    def latents(self, waveforms: Tensor) -> Tensor:
        """[b, s] in, [b, t, dim] at 75 Hz out."""
        return self.encodec.encoder(waveforms.unsqueeze(1)).mT

    def forward(self, waveforms: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Code waveforms [b, s] and decode them; also give each stage's codes int64 [b, t], if there are codebooks."""
        with torch.autocast(waveforms.device.type, enabled=False):
            latents = residual = self.latents(waveforms)
            codes = []
            for codebook in self.codebooks if self.is_fitted else ():
                codes.append(codebook.encode(residual))
                residual = residual - codebook.decode(codes[-1])
            heard = latents - residual if codes else latents
            return self.encodec.decoder(heard.mT).squeeze(1)[:, : waveforms.shape[1]], codes

    @torch.no_grad()
    def fit(self, frames: Tensor, generator: torch.Generator) -> None:
        """Fit the codebooks to latents [n, dim], each to what the ones before it leave, by Euclidean k-means.

        The latents are standardised for good: EnCodec's search loses small differences far from the origin to rounding.
        """
        mean, scale = frames.mean(dim=0), frames.std(dim=0).square().mean().sqrt()
        frames = (frames - mean) / scale
        ends: tuple[Any, Any] = (self.encodec.encoder.layers[-1], self.encodec.decoder.layers[0])
        last, first = (layer.conv for layer in ends)
        last.weight, last.bias[:] = last.weight / scale, (last.bias - mean) / scale
        first.bias += first.weight.sum(dim=-1) @ mean  # the decoder undoes it
        first.weight = first.weight * scale
        for codebook in self.codebooks:
            codebook.embed.copy_(_draw(frames, generator))
            for _ in range(_KMEANS_ROUNDS):
                codes = codebook.encode(frames)
                counts = torch.bincount(codes, minlength=_CODES).unsqueeze(-1)
                means = torch.zeros_like(codebook.embed).index_add_(0, codes, frames) / counts.clamp(min=1)
                # A code that nothing is nearest to begins anew.
                codebook.embed.copy_(torch.where(counts > 0, means, _draw(frames, generator)))
            codebook.inited.fill_(1)
            frames = frames - codebook.decode(codebook.encode(frames))


class CodecStage:
    """Trains a codec, as a stage of `mulan.training.loop`; what it saves, transformers' EncodecModel loads.

    The tracks of the split "train" are used, and those of "valid" to judge; where there are none, some of the former.

    Raises:
        ManifestError: there are no training tracks.
    """

    score = "valid_log_mel_db"
    more_is_better = False
    shardable = False
    teacher = None

    def __init__(self, config: CodecTrainConfig, tracks: Sequence[Track], *, cache: ShardCache | None = None) -> None:
        self.config = config
        self.origin = {"tracks": tracks_digest(tracks)}
        train = [track for track in tracks if track.split == "train"]
        judged = [track for track in tracks if track.split == "valid"] or train[-_JUDGED:]
        self._train, self._fitted, self._judged = (
            Clips(part, sample_rate=SAMPLE_RATE, clip_seconds=config.clip_seconds, seed=config.seed, cache=cache)
            for part in (train, train[:_FITTED], judged)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.module = Codec(config.encodec())

    def batches(self, *, first_step: int, share: Share) -> Iterator[tuple[int, Batch]]:
        """See `Stage`."""
        return run_batches(self._train, self.config, first_step=first_step, share=share)

    def backward(self, accelerator: Accelerator, module: nn.Module, step: int, batch: Batch) -> Mapping[str, Tensor]:
        """See `Stage`."""
        waveforms = batch.waveforms.to(accelerator.device)
        decoded, _ = module(waveforms)
        waveform, spectrum = functional.l1_loss(decoded, waveforms), spectral_distance(decoded, waveforms)
        loss = _WAVEFORM_WEIGHT * waveform + spectrum
        accelerator.backward(loss)
        return {"loss": loss.detach(), "waveform": waveform.detach(), "spectrum": spectrum.detach()}

    def after_step(self, module: Any, step: int) -> None:
        """Fit the codebooks after the last step."""
        if step + 1 == self.config.steps:
            device = next(module.parameters()).device
            looks = centred_batches(self._fitted, batch_size=self.config.batch_size)
            with torch.no_grad():
                frames = [module.latents(look.waveforms.to(device)).flatten(0, 1) for look in looks if look.keys]
            module.fit(torch.cat(frames), torch.Generator().manual_seed(seed_of(self.config.seed, step)))

    def imagine(self, module: Any, teacher: Any, rows: int, device: torch.device) -> Tensor:
        """See `Stage`; without the comparison of spectra."""
        latents = module.latents(torch.zeros(rows, round(self.config.clip_seconds * SAMPLE_RATE), device=device))
        return module.encodec.decoder(latents.mT).abs().mean()

    def validate(self, module: nn.Module, device: torch.device) -> Numbers:
        """Signal-to-noise ratio, error of the log-mel, and how much each codebook is used: in the end, with codes."""
        if not self.module.is_fitted:  # best/ would hold a codec without codebooks
            return {}
        mel, usage = LogMel().to(device), CodeUsage(stages=len(self.module.codebooks), codebook_size=_CODES)
        signal, noise, errors = 0.0, 0.0, []
        for batch in centred_batches(self._judged, batch_size=self.config.batch_size):
            if batch.keys:
                clips = batch.waveforms.to(device)
                decoded, codes = module(clips)
                usage.update(torch.stack(codes, dim=-1))
                signal += float(clips.square().sum())
                noise += float((clips - decoded).square().sum())
                errors += (MSD_STD * (mel(decoded) - mel(clips)).abs()).mean(dim=(1, 2)).tolist()
        if not errors:
            return {}
        numbers = {self.score: sum(errors) / len(errors)}
        if signal and noise:
            numbers["valid_snr_db"] = 10 * math.log10(signal / noise)
        for stage, (used, perplexity) in enumerate(zip(usage.used_share(), usage.perplexity(), strict=True), start=1):
            numbers |= {f"used_{stage}": float(used), f"perplexity_{stage}": float(perplexity)}
        return numbers

    def save(self, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write the codec as transformers does."""
        encodec = EncodecModel(self.config.encodec())
        encodec.load_state_dict({name.removeprefix("encodec."): weight for name, weight in weights.items()})
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_FILE).unlink(missing_ok=True)  # written last: without it, the folder is no model
        # Not by save_pretrained of the model, which draws a progress bar.
        save_file(
            {name: weight.contiguous() for name, weight in encodec.state_dict().items()}, folder / SAFETENSORS_FILE
        )
        encodec.config.save_pretrained(folder)


def spectral_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference of waveforms' [b, s] magnitudes and of their logarithms, over four window lengths."""
    distance = found.new_zeros(())
    for samples in _WINDOWS:
        window = torch.hann_window(samples, device=found.device)
        spectra = [
            torch.stft(x, samples, samples // 4, window=window, normalized=True, return_complex=True).abs()
            for x in (found, wanted)
        ]
        logs = [spectrum.clamp(min=_QUIETEST).log() for spectrum in spectra]
        distance = distance + sum((one - other).abs().mean() for one, other in (spectra, logs))
    return distance / len(_WINDOWS)


def _draw(frames: Tensor, generator: torch.Generator) -> Tensor:
    return frames[torch.randint(len(frames), (_CODES,), generator=generator).to(frames.device)]
