"""Contrastive training of both towers: the last stage, which makes the model that users search with.

    mulan train mulan configs/train/mulan-mini.toml --manifest corpus/manifest.jsonl --out run

Source: MuQ-MuLan, arXiv:2501.01108 (recipe contrastive_learning, reference.md 2.4); the choice of losses, of what is
trained and of augmentations is ours.
"""

import copy
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from data.errors import ConfigError, ManifestError
from data.loader import Batch, CaptionedClips, centred_batches, seeded_generator, true_negatives, word_scores
from data.manifest import Track, tracks_digest
from data.pseudo_tags import without_opinions
from data.shards import ShardCache
from data.texts import draw_words
from mulan.backbones import complete_config
from mulan.checkpoint import build_model, load_checkpoint, save_checkpoint
from mulan.distributed import Share, gather_objects
from mulan.encoding import TEXTS_PER_BATCH
from mulan.hub import resolve
from mulan.loss import INITIAL_BIAS, MAX_LOGIT_SCALE, contrastive_loss, distillation_loss, glossary_loss, tag_loss
from mulan.mel import HOP_SAMPLES, MEL_BANDS
from mulan.metrics import retrieval_scores
from mulan.model import MuLan
from mulan.runtime import choose_runtime
from mulan.tokenizer import TextTokenizer
from mulan.training.contrastive_config import MulanTrainConfig
from mulan.training.gradient_cache import cached_backward
from mulan.training.loop import Numbers, run_batches
from mulan.training.start import StartingModel, vocabulary_of
from mulan.training.state import weights_digest
from mulan.training.trainable import merge_lora, set_trainable

logger = logging.getLogger(__name__)

_VALIDATION_ROWS = 32
_IMAGINED_TOKENS = 16
_GLOSSARY_PHRASES = 32  # of a step
_NO_OPINIONS = "distillation.opinion_weight: no track without words has scores; `mulan data label --known` gives them"
_NO_TEXT = "music"  # stands where a clip has none; no loss looks at it


class _AtMost(torch.autograd.Function):
    """A clamp from which there is a way back: above the limit, a gradient that lowers is passed on.

    DeepSpeed's own copy of the scale escapes `after_step`, and the logarithm of the limit is a rounding above it.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, limit: float) -> Tensor:
        ctx.is_above = value > limit
        return value.clamp(max=limit)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return torch.where(ctx.is_above, gradient.clamp(min=0), gradient), None


class PairModule(nn.Module):
    """What Accelerate wraps: the towers, and the bias of SigLIP's loss, which no model needs afterwards."""

    def __init__(self, model: MuLan, *, has_bias: bool) -> None:
        super().__init__()
        self.model = model
        # Of one dimension, because what shards parameters cannot shard a scalar.
        model.log_scale = nn.Parameter(model.log_scale.detach().reshape(1))
        self.bias = nn.Parameter(torch.full((1,), INITIAL_BIAS)) if has_bias else None

    def forward(
        self,
        waveforms: Tensor,
        ids: Tensor,
        mask: Tensor,
        blanked: Tensor | None,
        words: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, ...]:
        """Latents of audio, of texts and of single words, the scale of their cosines and, where there is one, the bias.

        Without `words`, the ids and mask of words and of a glossary's phrases, there are latents of no words, [0, d].
        """
        audio, text, scale = self.model(waveforms, ids, mask, blanked)
        latents = text[:0] if words is None else self.model.text_latents(*words)
        outputs = (audio, text, latents, _AtMost.apply(scale, MAX_LOGIT_SCALE))
        return outputs if self.bias is None else (*outputs, self.bias.squeeze())


class MulanStage:
    """Contrastive training, as a stage of `mulan.training.loop`.

    Args:
        tracks: those of the splits "train" and "valid" are used.
        cache: where the tracks lie in shards that must be fetched.

    Raises:
        ConfigError: what is to be trained does not exist or needs a package that is missing, or SpecAugment is asked
            for where there is no mel.
        CheckpointError: a backbone is not to be found or other than the configuration says.
        ManifestError: there are no training tracks with captions or tags of their own, or too few words among them for
            what is distilled to be standardised.
    """

    score = "valid_mrr"
    more_is_better = True
    shardable = True

    def __init__(self, config: MulanTrainConfig, tracks: Sequence[Track], *, cache: ShardCache | None = None) -> None:
        self.config = config
        self.origin = {"tracks": tracks_digest(tracks)}
        if config.start_from:
            begun = load_checkpoint(resolve(config.start_from))
            config.check(begun.model.config)
            self.origin["start_from"] = begun.fingerprint
            model, self._tokenizer = begun.model, begun.tokenizer
        else:
            model, self._tokenizer = _begin(config)
            if config.audio_from:
                self.origin["audio_from"] = weights_digest(model.audio.backbone)
        self._architecture = model.config
        runtime = choose_runtime("auto", config.precision)
        opinions: dict[str, dict[str, float]] = {}
        if config.distillation:
            if weight := config.distillation.opinion_weight:
                opinions = {t.id: {word: weight * score for word, score in t.scores.items()} for t in tracks}
            tracks = [without_opinions(track) for track in tracks]
            if config.distillation.opinion_weight and not any(opinions[t.id] for t in tracks if t.is_mute):
                raise ManifestError(_NO_OPINIONS)
        told = [track for track in tracks if not track.is_mute]
        train, valid = ([track for track in told if track.split == split] for split in ("train", "valid"))
        if config.distillation and not train:
            found = f"found {len(tracks)} tracks, none of the split 'train' with words of its own"
            raise ManifestError(f"{found}; give some captions or tags")
        self._start = None
        if config.distillation:
            vocabulary = vocabulary_of(train) if config.distillation.standardised else ()
            self._start = StartingModel(
                model, self._tokens, runtime, rows=config.micro_batch, vocabulary=vocabulary, opinions=opinions
            )
        set_trainable(model, config.trainable, seed=config.seed)
        model.audio.backbone.prepare_for_training(runtime.device, checkpoint_activations=config.checkpoint_activations)
        self._blueprint = _without_weights(model)  # what weights are put into to be saved
        self.module = PairModule(model, has_bias=config.loss == "sigmoid")
        mute = [track for track in tracks if track.is_mute]
        if config.distillation:
            train += [track for track in mute if track.split == "train"]
            mute = [track for track in mute if track.split == "valid"]
        if mute:
            logger.warning("%d tracks, such as %s, are left out: no captions, no tags", len(mute), mute[0].id)
        self._train = self._clips(train, cache)
        self._valid = self._clips(valid, cache) if valid else None

    def batches(self, *, first_step: int, share: Share) -> Iterator[tuple[int, Batch]]:
        """See `Stage`."""
        return run_batches(self._train, self.config, first_step=first_step, share=share)

    def backward(self, accelerator: Accelerator, module: nn.Module, step: int, batch: Batch) -> Mapping[str, Tensor]:
        """See `Stage`."""
        device = accelerator.device
        rows = gather_objects([(label, bool(text)) for label, text in zip(batch.labels, batch.texts, strict=True)])
        labels = [label for label, _ in rows]
        paired = torch.tensor([has_text for _, has_text in rows], device=device)
        negatives = true_negatives(labels).to(device)
        words, scores = word_scores(labels) if self.config.tag_weight else ((), torch.empty(0))
        rng = seeded_generator(self.config.seed, step, "words")
        phrases: tuple[str, ...] = ()
        meanings = torch.empty(0)
        if self.config.glossary:
            phrases, meanings = self.config.glossary.draw(words, rng, phrases=_GLOSSARY_PHRASES)
        started = self._start.targets(batch, words, device) if self._start else None
        parts: dict[str, Tensor] = {}

        def loss_of(audio: Tensor, text: Tensor, latents: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
            kind = self.config.loss
            parts["pairs"] = contrastive_loss(audio, text, scale, negatives, kind=kind, bias=bias, paired=paired)
            if words:
                named, meant = latents[: len(words)], latents[len(words) :]
                parts["words"] = self.config.tag_weight * tag_loss(audio, named, scale, scores.to(device))
                if phrases:
                    parts["phrases"] = self.config.tag_weight * glossary_loss(meant, named, scale, meanings.to(device))
                if self.config.distillation and started is not None:
                    unknown = scores.isnan().to(device) & ~paired[:, None]
                    change = distillation_loss(audio, named, started, unknown)
                    parts["distillation"] = self.config.distillation.weight * change
            return torch.stack(list(parts.values())).sum()

        clips = len(batch.waveforms)
        size = self.config.micro_batch or clips
        chunks: list[tuple[Any, ...]] = [
            self._inputs(batch, slice(start, start + size), device) for start in range(0, clips, size)
        ]
        if words:
            said = draw_words([*words, *phrases], rng, self.config.text)
            chunks[0] = (*chunks[0], self._tokens(said, device))
        loss = cached_backward(accelerator, module, chunks, loss_of)
        scale = accelerator.unwrap_model(module).model.logit_scale.detach()
        shares = {f"loss_of_{name}": part.detach() for name, part in parts.items() if len(parts) > 1}
        return {"loss": loss, **shares, "logit_scale": scale}

    def after_step(self, module: Any, step: int) -> None:
        """Keep the temperature where softmaxes stay stable."""
        module.model.log_scale.data.clamp_(max=math.log(MAX_LOGIT_SCALE))

    def validate(self, module: nn.Module, device: torch.device) -> Numbers:
        """How well the valid tracks' captions find their clips, and the clips their captions."""
        audio, text = [], []
        texts: list[str] = []
        for batch in centred_batches(self._valid, batch_size=_VALIDATION_ROWS) if self._valid else ():
            if batch.keys:
                sounds, words, *_ = module(*self._inputs(batch, slice(None), device))
                audio.append(sounds.cpu())
                text.append(words.cpu())
                texts += batch.texts
        if not texts:
            return {}
        words, sounds = torch.cat(text).numpy(), torch.cat(audio).numpy()
        numbers = np.unique(texts, return_inverse=True)[1]
        relevant = numbers[:, None] == numbers  # some tracks share a caption
        forth = retrieval_scores(words, sounds, relevant=relevant)
        back = retrieval_scores(sounds, words, relevant=relevant)
        return {
            "valid_mrr": forth.mrr,
            "valid_r_at_1": forth.r_at_1,
            "valid_r_at_5": forth.r_at_5,
            "valid_r_at_10": forth.r_at_10,
            "valid_median_rank": forth.median_rank,
            "valid_audio_to_text_mrr": back.mrr,
            "valid_audio_to_text_r_at_10": back.r_at_10,
        }

    @property
    def teacher(self) -> nn.Module | None:
        """See `Stage`: the model that is distilled."""
        return self._start.model if self._start else None

    def imagine(self, module: Any, teacher: Any, rows: int, device: torch.device) -> Tensor:
        """See `Stage`; texts as long as most captions. The single words of a batch are not in it."""
        samples = round(self._architecture.clip_seconds * self._architecture.sample_rate)
        ids = torch.ones(rows, _IMAGINED_TOKENS, dtype=torch.int64, device=device)
        inputs = (torch.zeros(rows, samples, device=device), ids, ids.bool(), None)
        with torch.no_grad():
            if teacher is not None:
                teacher.audio_latents(inputs[0])
            if self.config.micro_batch:
                module(*inputs)  # the pass that gives the latents of the whole batch, see `cached_backward`
        audio, text, _, scale, *_ = module(*inputs)
        return scale * (audio @ text.T).sum()

    def save(self, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write the model as users load it: LoRA's products merged into it; if asked, mixed with its start, centred."""
        prefix = "model."
        model = copy.deepcopy(self._blueprint)
        # Copies: merging LoRA changes weights, and training may go on with these.
        own = {
            name.removeprefix(prefix): weight.detach().to("cpu", copy=True)
            for name, weight in weights.items()
            if name.startswith(prefix)
        }
        own["log_scale"] = own["log_scale"].reshape(())
        model.load_state_dict(own, assign=True)
        merge_lora(model)
        if self.config.keep_of_start and self.config.start_from:
            start = load_checkpoint(resolve(self.config.start_from))
            if start.fingerprint != self.origin["start_from"]:
                raise ConfigError(f"start_from = {self.config.start_from}: has been replaced meanwhile; put it back")
            model.keep_of(start.model, share=self.config.keep_of_start)
        if self.config.centre_texts and self.config.glossary:
            phrases = [phrase for entry in self.config.glossary.entry for phrase in entry.say]
            batches = (phrases[first : first + TEXTS_PER_BATCH] for first in range(0, len(phrases), TEXTS_PER_BATCH))
            texts = (self._tokens(batch, torch.device("cpu")) for batch in batches)
            model.centre_texts(texts, share=self.config.centre_texts)
        if self.config.centre:
            middles = centred_batches(self._train, batch_size=_VALIDATION_ROWS)
            with choose_runtime("cpu").autocast():
                model.centre_audio(batch.waveforms for batch in middles if batch.keys)
        save_checkpoint(
            folder,
            model.eval(),
            self._tokenizer,
            name=self.config.name,
            licence=self.config.licence,
            dtype=torch.float16,
        )

    def _inputs(self, batch: Batch, rows: slice, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        blanked = None if batch.blanked is None else batch.blanked[rows].to(device)
        return (
            batch.waveforms[rows].to(device),
            *self._tokens([text or _NO_TEXT for text in batch.texts[rows]], device),
            blanked,
        )

    def _tokens(self, texts: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
        ids, mask = self._tokenizer.pad(self._tokenizer.encode(texts))
        return ids.to(device), mask.to(device)

    def _clips(self, tracks: Sequence[Track], cache: ShardCache | None) -> CaptionedClips:
        model = self._architecture
        frames = round(model.clip_seconds * model.sample_rate) // HOP_SAMPLES
        return CaptionedClips(
            tracks,
            text=self.config.text,
            audio=self.config.audio,
            sample_rate=model.sample_rate,
            clip_seconds=model.clip_seconds,
            seed=self.config.seed,
            mute=self.config.distillation.audio if self.config.distillation else None,
            mel_shape=(MEL_BANDS, frames),
            kin=self.config.kin,
            cache=cache,
        )


def _begin(config: MulanTrainConfig) -> tuple[MuLan, TextTokenizer]:
    """A new model as it is before the first step."""
    assert config.model
    described = complete_config(config.model, config.audio_from) if config.audio_from else config.model
    config.check(described)
    return build_model(config.model, seed=config.seed, audio_from=config.audio_from)


def _without_weights(model: MuLan) -> MuLan:
    """A copy whose parameters take no memory; its buffers, of which no checkpoint holds those of the mel, are there."""
    blueprint = copy.deepcopy(model)
    for module in blueprint.modules():
        for name, weight in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(weight.to("meta"), requires_grad=weight.requires_grad))
    return blueprint
