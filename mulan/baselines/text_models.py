"""Text models of others: any of sentence-transformers and the text tower of any open_clip model, in float32."""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from data.errors import CheckpointError
from mulan.baselines.folder import (
    absolute,
    find_folder,
    folder_fingerprint,
    lacking,
    no_bars,
    read_licence,
    refusing,
)
from mulan.baselines.text_only import TextOnlyEncoder
from mulan.encoding import LICENCE_NOT_STATED, TEXTS_PER_BATCH
from mulan.runtime import Runtime

OPEN_CLIP = "open-clip"
SENTENCE_TRANSFORMERS = "sentence-transformers"
KINDS = (OPEN_CLIP, SENTENCE_TRANSFORMERS)
_MODULES_FILE = "modules.json"
_OPEN_CLIP_FILE = "open_clip_config.json"


def load_text_only(kind: str, place: str, runtime: Runtime) -> TextOnlyEncoder:
    """Load a text model as an encoder that reads file names; `kind` is "open-clip" or "sentence-transformers".

    Raises:
        CheckpointError: the model is not there, or is not of this kind.
    """
    model = (SentenceModel if kind == SENTENCE_TRANSFORMERS else OpenClipModel)(place, runtime)
    return TextOnlyEncoder(model, name=f"{kind}:{absolute(place)}", runtime=runtime)


def sentence_folder(place: str) -> Path:
    """Give the folder of a sentence-transformers model, named as that library has it; errors as `find_folder`'s."""
    is_name = "/" not in place and not Path(place).is_dir()
    return find_folder(f"sentence-transformers/{place}" if is_name else place, kind=SENTENCE_TRANSFORMERS)


class SentenceModel:
    """A model of sentence-transformers: a folder, ORG/REPO of the hub, or NAME for sentence-transformers/NAME."""

    logit_scale: float | None = None

    def __init__(self, place: str, runtime: Runtime) -> None:
        from sentence_transformers import SentenceTransformer

        folder = sentence_folder(place)
        if lacking(folder, [_MODULES_FILE]):
            raise CheckpointError(f"{folder}: has no {_MODULES_FILE}; give the folder of a sentence-transformers model")
        with refusing(folder, what="a text model"), no_bars():
            self._model = SentenceTransformer(str(folder), device=str(runtime.device), local_files_only=True)
        self._model = self._model.float().eval()
        self.fingerprint = folder_fingerprint(folder, rule=SENTENCE_TRANSFORMERS)
        self.licence = read_licence(folder)
        self.max_tokens: float = self._model.max_seq_length or math.inf
        self.dim = len(self.embed(["music"])[0])

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has, with the prompt that the model puts before it; 0 for a bag of words."""
        from transformers import PreTrainedTokenizerBase

        tokenizer = self._model.tokenizer
        if not isinstance(tokenizer, PreTrainedTokenizerBase):  # that of a model without positions, thus without limit
            return 0
        prompt = self._model.prompts.get(self._model.default_prompt_name or "") or ""
        return len(tokenizer(prompt + text, verbose=False).input_ids)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, dim], rows of unit length; a text over the model's limit is cut."""
        vectors: np.ndarray = self._model.encode(
            list(texts), batch_size=TEXTS_PER_BATCH, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors.astype(np.float32, copy=False)


class OpenClipModel:
    """The text tower of an open_clip model: a folder with open_clip_config.json, or MODEL/PRETRAINED of its lists."""

    def __init__(self, place: str, runtime: Runtime) -> None:
        import open_clip

        folder = Path(place).expanduser()
        if folder.is_dir():
            if lacking(folder, [_OPEN_CLIP_FILE]):
                raise CheckpointError(f"{folder}: has no {_OPEN_CLIP_FILE}; give the folder of an open_clip model")
            model, pretrained, self.licence = f"local-dir:{folder.resolve()}", None, read_licence(folder)
        else:
            (model, pretrained), self.licence = _listed(place), LICENCE_NOT_STATED
        with refusing(f"{OPEN_CLIP}:{place}", what="a model of open_clip"):
            loaded = open_clip.create_model(model, pretrained, precision="fp32", require_pretrained=True)
            self._tokenize = open_clip.get_tokenizer(model)
        self._model, self._device = loaded.to(runtime.device).eval(), runtime.device
        self.logit_scale: float | None = float(loaded.logit_scale.detach().exp())
        self.fingerprint = _text_fingerprint(loaded.state_dict(), open_clip.get_model_config(model))
        self.max_tokens: float = self._tokenize.context_length
        self.dim = len(self.embed(["music"])[0])

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has, those of start and end included."""
        of_transformers = getattr(self._tokenize, "tokenizer", None)  # inside open_clip's two wrappers of those
        if of_transformers is None:
            return len(self._tokenize.encode(text)) + 2
        return len(of_transformers(text, verbose=False).input_ids)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, dim], rows of unit length; a text over the model's limit is cut."""
        rows = []
        with torch.inference_mode():
            for start in range(0, len(texts), TEXTS_PER_BATCH):
                tokens = self._tokenize(list(texts[start : start + TEXTS_PER_BATCH])).to(self._device)
                rows.append(normalize(self._model.encode_text(tokens).float(), dim=-1).cpu().numpy())
        return np.concatenate(rows)


def _listed(place: str) -> tuple[str, str]:
    """Split MODEL/PRETRAINED; PRETRAINED may be left out where a model has one, for random weights are no baseline."""
    import open_clip

    model, _, pretrained = place.partition("/")
    known = open_clip.list_pretrained_tags_by_model(model)
    if not known:
        example = "ViT-B-32/openai, or the folder of a model"
        raise CheckpointError(f"{OPEN_CLIP}:{place}: no such folder and no such model of open_clip; give {example}")
    if not pretrained and len(known) == 1:
        return model, known[0]
    if pretrained not in known:
        found = f"weights {pretrained!r} are unknown" if pretrained else "names no weights"
        raise CheckpointError(f"{OPEN_CLIP}:{place}: {found}; allowed: {model}/ and one of {', '.join(known)}")
    return model, pretrained


def _text_fingerprint(weights: dict[str, Tensor], config: Any) -> str:
    """Hash the weights but those for images, and the text tower's configuration; sha256 in hex."""
    settings = {"text_cfg": (config or {}).get("text_cfg"), "quick_gelu": (config or {}).get("quick_gelu")}
    digest = hashlib.sha256(json.dumps([OPEN_CLIP, settings], sort_keys=True).encode())
    for name in sorted(name for name in weights if not name.startswith("visual.")):
        weight = weights[name].detach().float().contiguous()
        digest.update(f"{name} {list(weight.shape)}\n".encode())
        digest.update(weight.cpu().numpy().data)
    return digest.hexdigest()
