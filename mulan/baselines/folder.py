"""What every baseline is made of: a folder of files, its fingerprint and what its model card says of the licence."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from data.errors import CheckpointError
from mulan.encoding import LICENCE_NOT_STATED
from mulan.hub import first_line
from mulan.weights import WINDOW_RULE

MODEL_CARD = "README.md"
_CONFIGS = ("*.json", "*.txt", "*.model", MODEL_CARD)
_WEIGHTS = ("*.safetensors", "*.bin")  # a repository may hold both; the first is read
_OTHER_FORMATS = ("onnx/*", "openvino/*", "coreml/*", "*training_args.bin", "*optimizer.bin")
_COUNTED = (".json", ".txt", ".model", ".safetensors", ".bin")


def find_folder(place: str, *, kind: str) -> Path:
    """Give the absolute folder of a model: a directory here, or ORG/REPO of the hub, downloaded if need be.

    Raises:
        CheckpointError: there is neither, or the hub cannot be reached.
    """
    folder = Path(place).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if place.startswith(("/", ".", "~")) or place.count("/") != 1:
        raise CheckpointError(f"{kind}:{place}: no such folder; give the folder of a model, or ORG/REPO of the hub")
    try:
        return _download(place)
    except LocalEntryNotFoundError as error:
        remedy = f"connect, or fetch the folder elsewhere and use {kind}:DIR"
        raise CheckpointError(f"{kind}:{place}: not in the cache and the hub cannot be reached; {remedy}") from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise CheckpointError(f"{kind}:{place}: {first_line(error)}") from error


def absolute(place: str) -> str:
    """Give a folder's absolute path, for an index that remembers it; what is no folder here stays as it is."""
    folder = Path(place).expanduser()
    return str(folder.resolve()) if folder.is_dir() else place


def folder_fingerprint(folder: Path, *, rule: str) -> str:
    """Hash every file that a vector may depend on, by name and content, with our window rule; sha256 in hex.

    Where weights lie there as safetensors and as a pickle, the pickle does not count, for nobody reads it.

    Args:
        rule: what the vector depends on besides: how the model is used.
    """
    digest = hashlib.sha256(f"{rule}, window rule {WINDOW_RULE}\n".encode())
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        unread = path.suffix == ".bin" and any(path.parent.glob("*.safetensors"))
        if path.suffix in _COUNTED and not hidden and not unread and path.is_file():
            with path.open("rb") as file:
                digest.update(f"{inside.as_posix()} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def read_licence(folder: Path) -> str:
    """Give `license` of the front matter of the model card, or "not stated"."""
    card = folder / MODEL_CARD
    if not card.is_file():
        return LICENCE_NOT_STATED
    front = re.match(r"---\s*\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    stated = re.search(r"^license:[ \t]*['\"]?([^'\"\n]+)", front[1], re.MULTILINE) if front else None
    return stated[1].strip() if stated else LICENCE_NOT_STATED


def lacking(folder: Path, files: Sequence[str]) -> list[str]:
    """Give those of the files that the folder does not hold."""
    return [file for file in files if not (folder / file).is_file()]


@contextmanager
def refusing(place: str | Path, *, what: str) -> Iterator[None]:
    """Turn whatever a library raises while it reads a model into our refusal; only calls of libraries belong inside.

    Args:
        what: the model should be.

    Raises:
        CheckpointError: the library raised.
    """
    try:
        yield
    except Exception as error:  # damaged files met a bare Exception of tokenizers and ten kinds without a common base
        raise CheckpointError(f"{place}: cannot be read as {what}: {first_line(error)}") from error


@contextmanager
def no_bars() -> Iterator[None]:
    """Keep transformers from drawing a progress bar while it loads."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _download(repository: str) -> Path:
    for weights in _WEIGHTS:
        patterns = [*_CONFIGS, weights]
        folder = Path(snapshot_download(repository, allow_patterns=patterns, ignore_patterns=list(_OTHER_FORMATS)))
        if any(folder.rglob(weights)):
            break
    return folder
