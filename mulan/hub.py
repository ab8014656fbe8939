"""From a model's name to a folder on this machine, shipped, local or from the hub; and the text files in it."""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from data.errors import CheckpointError
from mulan.text_tower import ExternalWeights

CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.json"
SAFETENSORS_FILE = "model.safetensors"
PICKLE_FILE = "pytorch_model.bin"

_BASELINES = ("clap:", "open-clip:", "sentence-transformers:")  # loaded by `load_encoder`; here for the message
_SHIPPED = Path(__file__).parent / "pretrained"


def resolve(name: str) -> Path:
    """Give the folder of a model named `mulan-mini`, `local:DIR` or `hub:ORG/REPO`, downloaded if need be.

    Of a repository of the hub, config.json and one weights file are fetched, and in our layout tokenizer.json.

    Raises:
        CheckpointError: the name is of no known kind, or the model is not there.
    """
    kind, _, rest = name.partition(":")
    if kind == "local" and rest:
        return _local_folder(rest)
    if kind == "hub" and rest:
        return download_model(rest)
    shipped = sorted(folder.name for folder in _SHIPPED.glob("*") if (folder / CONFIG_FILE).is_file())
    if name in shipped:
        return _SHIPPED / name
    allowed = [*shipped, "local:DIR", "hub:ORG/REPO"]
    baselines = ", ".join(f"{kind}…" for kind in _BASELINES)
    raise CheckpointError(
        f"model {name!r}: unknown; allowed: {', '.join(allowed)}, to compare with {baselines}{_hint(name, shipped)}"
    )


def download_model(repository: str) -> Path:
    """Fetch what a model needs from the hub: config.json, one weights file, and in our layout tokenizer.json."""
    folder = download(repository, [CONFIG_FILE])
    # All files come from the commit that config.json came from, even if the repository changes in between.
    revision = folder.name
    download(repository, [SAFETENSORS_FILE, PICKLE_FILE], revision=revision)
    if read_json(folder / CONFIG_FILE).get("format") == "mulan":  # a published model names its tokenizer's place
        download(repository, [TOKENIZER_FILE], revision=revision)
    return folder


def download(repository: str, candidates: Sequence[str], *, revision: str | None = None) -> Path:
    """Fetch the first of the candidate files that the repository has; give the folder it lies in.

    Raises:
        CheckpointError: it has none of them, or cannot be reached and they are not in the cache.
    """
    for file in candidates:
        try:
            return Path(hf_hub_download(repository, file, revision=revision)).parent
        except LocalEntryNotFoundError as error:
            unreachable: Exception | None = error
        except EntryNotFoundError:
            unreachable = None
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            raise CheckpointError(f"hub:{repository}: {first_line(error)}") from error
    wanted = " or ".join(candidates)
    if unreachable is None:
        raise CheckpointError(f"hub:{repository}: has no {wanted}")
    raise CheckpointError(
        f"hub:{repository}: {wanted} is not in the cache and the hub cannot be reached; "
        "connect, or fetch the folder elsewhere and use local:DIR"
    ) from unreachable


def find_beside(name: str, folder: Path, *, files: Sequence[str]) -> Path:
    """Give the folder that holds files of another model, which the config.json of `folder` names.

    Args:
        name: a directory, absolute or relative to `folder`, or a hub id. Of an absolute path that is gone, the last
            part is looked for in `folder`, so that a folder written by `mulan convert` may be moved.
        files: what is needed of it; nothing else is fetched.

    Raises:
        CheckpointError: there is no such directory or repository, or it lacks one of the files.
    """
    for place in (folder / name, folder / Path(name).name):
        if place.is_dir():
            lacking = [file for file in files if not (place / file).is_file()]
            if lacking:
                raise CheckpointError(f"{place}: has no {', '.join(lacking)}; {folder / CONFIG_FILE} names it")
            return place
    if Path(name).is_absolute() or name.startswith("."):
        raise CheckpointError(f"{folder / CONFIG_FILE}: names the folder {name}, which does not exist")
    place = download(name, files[:1])
    for file in files[1:]:
        download(name, [file], revision=place.name)
    return place


def find_external(external: ExternalWeights) -> Path:
    """Give the folder of a text backbone that our checkpoint does not carry, its weights checked by hash.

    Raises:
        CheckpointError: it is neither installed nor on the hub, or its weights are others.
    """
    folder = _package_folder(external.package)
    if folder is None:
        folder = download(external.hub, [SAFETENSORS_FILE], revision=external.revision)
        for file in (CONFIG_FILE, TOKENIZER_FILE):
            download(external.hub, [file], revision=folder.name)
    weights = folder / SAFETENSORS_FILE
    with weights.open("rb") as file_object:
        found = hashlib.file_digest(file_object, "sha256").hexdigest()
    if found != external.sha256:
        raise CheckpointError(f"{weights}: sha256 is {found}, need {external.sha256}; reinstall the package")
    return folder


def folder_name(folder: Path) -> str:
    """Give the name of a folder, or of the repository if it is a snapshot of one in the hub's cache."""
    place = folder.resolve()
    if place.parent.name == "snapshots" and place.parent.parent.name.startswith("models--"):
        return place.parent.parent.name.rpartition("--")[2]
    return place.name


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: there is no such file, or it is no JSON object.
    """
    try:
        fields = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}: is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"{path}: holds {type(fields).__name__}; need an object")
    return fields


def write_json(path: Path, fields: Mapping[str, Any]) -> None:
    """Write a JSON object for people to read."""
    path.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_text(path: Path) -> str:
    """Read a text file to its last byte: newlines count in the fingerprint.

    Raises:
        CheckpointError: there is no such file, or it is no UTF-8.
    """
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error


def first_line(error: Exception) -> str:
    """Give the first line of an error that is not blank, or its kind if it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _package_folder(package: str) -> Path | None:
    module, _, inside = package.partition("/")
    spec = find_spec(module)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / inside / SAFETENSORS_FILE).is_file():
            return Path(place) / inside
    return None


def _local_folder(path: str) -> Path:
    folder = Path(path).expanduser()
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(f"local:{path}: has no {CONFIG_FILE}; give the folder of a model")
    return folder


def _hint(name: str, shipped: Sequence[str]) -> str:
    if Path(name).is_dir():
        return f"; did you mean local:{name}?"
    if name.count("/") == 1 and ":" not in name:
        return f"; did you mean hub:{name}?"
    kind, colon, rest = name.partition(":")
    known = ["local:", "hub:", *_BASELINES] if colon else list(shipped)
    nearest = difflib.get_close_matches(kind + colon, known, n=1)
    return f"; did you mean {nearest[0]}{rest}?" if nearest else ""
