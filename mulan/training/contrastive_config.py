"""What a contrastive run is told: see `mulan.training.contrastive`."""

from typing import Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from data.audio import MIN_SECONDS
from data.augment import AudioAugmentation
from data.config import StrictModel
from data.errors import ConfigError
from data.glossary import Glossary
from data.texts import TextAugmentation
from mulan.loss import LossKind
from mulan.mert import MertConfig
from mulan.model import MuLanConfig
from mulan.training.config import TrainingConfig
from mulan.training.trainable import TrainableConfig


class Distillation(StrictModel):
    """The model that a run starts from teaches clips of which nobody has said anything: its cosines with single words.

    Clips without captions and tags, that is. What a teacher before it said (`scores`) is dropped with the words that it
    led to: the model has learnt them, and knows them of music that it was not told of, such as two tracks at once. With
    `opinion_weight`, a tagger teaches beside it, of what it knows better: see `mulan.word_probes`. Without all this, a
    model that goes on learning from one kind of music forgets what it knew of another.

    The words are those of the batch's other clips, as they are written; the model in training reads them as `text`
    draws them.

    Attributes:
        weight: of `mulan.loss.distillation_loss`.
        standardised: teach of each clip its cosines less their mean over all words of the training tracks, in units of
            their deviation, see `mulan.training.start.StartingModel`; needs 20 words, better all that music is called.
        opinion_weight: what a tagger says of a track (`scores`, in deviations), so many times, is added to what is
            taught of its clips; of two that are mixed, what it says of the louder. Needs `standardised`.
        audio: how these clips are augmented: both models hear the same, so anything goes.

    Source: Learning without Forgetting, arXiv:1606.09282; that augmentation should be rich, and the same for both,
    arXiv:2106.05237.
    """

    weight: PositiveFloat = 0.5
    standardised: bool = False
    opinion_weight: NonNegativeFloat = 0.0
    audio: AudioAugmentation = AudioAugmentation()


class MulanTrainConfig(TrainingConfig):
    """A contrastive run.

    With `micro_batch`, gradients are cached: the contrast is still among the whole batch, over all processes.

    Attributes:
        model: of a model to be made; left out where `start_from` names one.
        start_from: a trained MuLan to go on from, as `--model` names one: `mulan-mini`, `local:DIR`, `hub:ORG/REPO`.
        distillation: of the model of `start_from`, on music without words; without it such music is left out.
        audio_from: a trained audio backbone to start from: `local:DIR` or `hub:ORG/REPO`, a MuQ, a MERT, or what
            `mulan train muq` made; what `model` leaves unsaid of the backbone is then read there.
        trainable: how much of each backbone is trained.
        tag_weight: of the loss of single words, `mulan.loss.tag_loss`, beside that of pairs; 0 leaves it out.
        glossary: phrases that mean words; their loss, `mulan.loss.glossary_loss`, has the weight of the words'.
        kin: up to so many clips of a batch in a row share a tag: what they do not share is then what is learnt.
        centre: shift the audio latents of what is saved by their mean over the middles of the training tracks, which
            are read for it at each save; what is validated is not shifted.
        keep_of_start: of what is saved, the part of the weights of `start_from`, see `MuLan.keep_of`.
        centre_texts: take from the text latents of what is saved so much of their mean over the glossary's phrases.
        text, audio: how captions and crops are augmented.
    """

    model: MuLanConfig | None = None
    start_from: str | None = None
    distillation: Distillation | None = None
    audio_from: str | None = None
    loss: LossKind = "decoupled"
    tag_weight: NonNegativeFloat = 0.0
    glossary: Glossary | None = None
    trainable: TrainableConfig = TrainableConfig()
    kin: PositiveInt = 1
    centre: bool = False
    keep_of_start: float = Field(default=0.0, ge=0.0, lt=1.0)
    centre_texts: float = Field(default=0.0, ge=0.0, le=1.0)
    text: TextAugmentation = TextAugmentation()
    audio: AudioAugmentation = AudioAugmentation()

    @model_validator(mode="after")
    def _check_towers(self) -> Self:
        if (self.model is None) == (self.start_from is None):
            found = "neither" if self.model is None else "both"
            raise ValueError(f'model, start_from: found {found}; give one of them, as in start_from = "mulan-mini"')
        if self.start_from and self.audio_from:
            raise ValueError("audio_from: start_from gives all of the model; leave one of them out")
        if self.keep_of_start and not self.start_from:
            raise ValueError("keep_of_start: there is no model to keep of; set start_from, or leave it out")
        if self.centre_texts and not self.glossary:
            raise ValueError("centre_texts: centres on the phrases of a glossary; set glossary, or leave it out")
        if self.distillation and not (self.start_from and self.tag_weight):
            raise ValueError("distillation: needs start_from, and the words of tag_weight; set both")
        if self.distillation and self.distillation.audio.spec_augment:
            raise ValueError("distillation.audio.spec_augment: all clips have that of audio; leave it out here")
        if self.distillation and self.distillation.opinion_weight and not self.distillation.standardised:
            raise ValueError("distillation.opinion_weight: of deviations; set standardised = true, or leave it out")
        if self.distillation and self.centre:
            raise ValueError("centre: would shift what distillation holds in place; set centre = false")
        if self.model and self.model.clip_seconds < MIN_SECONDS:
            raise ValueError(f"model.clip_seconds = {self.model.clip_seconds}: must be at least {MIN_SECONDS}")
        if self.batch_norm == "micro-batch":
            raise ValueError('batch_norm = "micro-batch": not in contrastive training; use "batch" or "frozen"')
        if self.glossary and not self.tag_weight:
            raise ValueError("glossary: its phrases are compared with the words of tag_weight, which is 0; set it to 1")
        if self.model and (message := _unblankable(self.audio, self.model)):
            raise ValueError(message)
        return self

    def check(self, model: MuLanConfig) -> None:
        """Refuse what cannot be done to a model, before its weights are made.

        Raises:
            ConfigError: as `TrainableConfig.check`; or SpecAugment is asked for where there is no mel.
        """
        self.trainable.check(model)
        if message := _unblankable(self.audio, model):
            raise ConfigError(message)


def _unblankable(audio: AudioAugmentation, model: MuLanConfig) -> str:
    """What is wrong with SpecAugment for this model; empty if nothing is."""
    if audio.spec_augment and isinstance(model.audio.backbone, MertConfig):
        return "audio.spec_augment: blanks parts of a mel, and a MERT has none; leave it out"
    return ""
