"""Everything that silently spoils a model's vectors, asked of one model on one machine."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from data.errors import MulanError
from mulan.baselines.clap import KIND as CLAP
from mulan.baselines.folder import find_folder
from mulan.baselines.text_models import OPEN_CLIP, SENTENCE_TRANSFORMERS, sentence_folder
from mulan.baselines.text_only import PREFIX
from mulan.encoder import load_encoder
from mulan.encoding import Encoder
from mulan.evaluation.checks import (
    Check,
    check_audio_neighbours,
    check_collapse,
    check_determinism,
    check_finite,
    check_precision,
    check_sample_rates,
    check_text_neighbours,
    check_unit_length,
    hears,
)
from mulan.evaluation.installation import check_device, check_files, check_libraries
from mulan.evaluation.libraries import installed_libraries
from mulan.hub import first_line, resolve
from mulan.runtime import PrecisionChoice

Question = Callable[[], Check]


def diagnose(name: str, *, device: str = "auto", precision: PrecisionChoice = "auto") -> Iterator[Check]:
    """Load a model and ask everything; gives each answer as soon as it is there.

    Args:
        name, device, precision: as for `load_encoder`.

    Raises:
        CheckpointError: the model cannot be loaded.
        ConfigError: the device or precision cannot be had here.
    """
    yield check_libraries(installed_libraries())
    yield check_files(model_folder(name))  # before loading, which damaged files would end
    encoder = load_encoder(name, device=device, precision=precision)
    reference = encoder
    if encoder.precision != "float32":
        reference = load_encoder(name, device=device, precision="float32")
    yield from examine(encoder, reference, asked=device)


def examine(encoder: Encoder, reference: Encoder, *, asked: str) -> Iterator[Check]:
    """Ask everything of an encoder; what only sound can answer does not apply to a text model.

    Args:
        reference: the same model in float32.
        asked: the device wished for.
    """
    questions: dict[str, Question] = {
        "device used": partial(check_device, encoder, asked),
        "texts differ": partial(check_collapse, encoder),
        "unit length": partial(check_unit_length, encoder),
        "same answer twice": partial(check_determinism, encoder),
        "text alone and among others": partial(check_text_neighbours, encoder),
    }
    of_sound: dict[str, Question] = {
        "track alone and among others": partial(check_audio_neighbours, encoder),
        "no NaN": partial(check_finite, encoder),
        "sample rates": partial(check_sample_rates, encoder),
        "precision": partial(check_precision, encoder, reference),
    }
    for name, question in questions.items():
        yield _answer(name, question)
    for name, question in of_sound.items():
        yield _answer(name, question) if hears(encoder) else _not_applicable(name)


def model_folder(name: str) -> Path | None:
    """Give the folder of a model's files; None for what open_clip keeps in a place of its own.

    Raises:
        CheckpointError: the model is not there.
    """
    kind, _, place = name.removeprefix(PREFIX).partition(":")
    if kind == OPEN_CLIP:
        return Path(place).expanduser() if Path(place).expanduser().is_dir() else None
    if kind == SENTENCE_TRANSFORMERS:
        return sentence_folder(place)
    return find_folder(place, kind=kind) if kind == CLAP else resolve(name)


def _answer(name: str, question: Question) -> Check:
    try:
        return question()
    except (MulanError, ValueError, RuntimeError) as error:  # a model that cannot answer is no reason to ask no further
        found = first_line(error)
        return Check(name=name, passed=False, found=found, allowed="an answer", remedy="see the other checks first")


def _not_applicable(name: str) -> Check:
    return Check(name=name, passed=None, found="not applicable", allowed="", remedy="a text model has no ears")
