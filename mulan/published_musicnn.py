"""The published weights of the musicnn package: fetched, checked by hash, and put into our networks.

The package is a wheel that holds four TensorFlow checkpoints. It is not installed, since it needs old releases of other
packages: the checkpoints are read out of the wheel. What is loaded here is handed out by `mulan/teachers.py`, for
training, and by `mulan/judge.py`, for evaluation; nothing else may load it.
"""

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.errors import CheckpointError
from mulan.musicnn import MSD_TAGS, MTT_TAGS, Musicnn, Tagger, Vgg
from mulan.runtime import Runtime, mulan_home
from mulan.tensorflow_checkpoint import read_tensors
from mulan.weights import fill_weights

_REQUIREMENT = "musicnn==0.1.0"
_WHEEL = "musicnn-0.1.0-py3-none-any.whl"
_SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"


def load_tagger(name: str, *, runtime: Runtime) -> Tagger:
    """Load MSD_musicnn, MSD_vgg, MTT_musicnn or MTT_vgg; fetched into `$MULAN_HOME/teachers` at the first use.

    Raises:
        CheckpointError: the weights cannot be fetched, or are not those that were published.
    """
    wheel = fetch_wheel(mulan_home() / "teachers")
    with zipfile.ZipFile(wheel) as members:
        index, values = (members.read(f"musicnn/{name}/{file}") for file in (".index", ".data-00000-of-00001"))
    tagger = build_tagger(name, read_tensors(index, values, where=f"{wheel}: {name}"), dtype=runtime.dtype)
    return tagger.to(runtime.device)


def build_tagger(name: str, tensors: Mapping[str, np.ndarray], *, dtype: torch.dtype) -> Tagger:
    """Put the tensors of a checkpoint into the network that its name ends with.

    Raises:
        CheckpointError: tensors are missing or of another shape.
    """
    network, convert = (Vgg(), vgg_weights) if name.endswith("_vgg") else (Musicnn(), musicnn_weights)
    try:
        weights = convert(tensors)
    except KeyError as error:
        raise CheckpointError(f"{name}: has no tensor {error}; fetch it again") from error
    fill_weights(network, weights, where=name)
    network.use_dtype(dtype)
    return Tagger(network, name=name, tags=MTT_TAGS if name.startswith("MTT_") else MSD_TAGS)


def fetch_wheel(folder: Path) -> Path:
    """The wheel with the weights, downloaded with pip unless it is there.

    Raises:
        CheckpointError: pip cannot have it, or it is not the one that is known.
    """
    wheel = folder / _WHEEL
    if not wheel.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        program = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([*program, "--dest", str(folder), _REQUIREMENT], capture_output=True, text=True)
        if done.returncode != 0 or not wheel.is_file():
            reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            raise CheckpointError(f"{wheel}: pip cannot download {_REQUIREMENT} ({reason}); put the wheel there")
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != _SHA256:
        raise CheckpointError(f"{wheel}: sha256 is {found}, need {_SHA256}; remove the file")
    return wheel


def musicnn_weights(tensors: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The weights of a `Musicnn` by our names, from those of its TensorFlow checkpoint."""
    convs = [f"front.{number}.conv" for number in range(5)] + [f"layers.{number}.conv" for number in range(3)]
    norms = ["norm", *(name.replace("conv", "norm") for name in convs), "pooled_norm", "hidden_norm"]
    weights: dict[str, Tensor] = {}
    for number, name in enumerate(convs):
        place = _numbered("conv2d", number)
        weights[f"{name}.weight"] = _tensor(tensors[f"{place}/kernel"][:, :, 0].transpose(2, 1, 0))  # [t, bands, out]
        weights[f"{name}.bias"] = _tensor(tensors[f"{place}/bias"])
    for number, name in enumerate(("hidden", "output")):
        weights |= _dense(tensors, _numbered("dense", number), name)
    for number, name in enumerate(norms):
        weights |= _norm(tensors, number, name)
    return weights


def vgg_weights(tensors: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The weights of a `Vgg` by our names, from those of its TensorFlow checkpoint."""
    weights = _dense(tensors, "dense", "output") | _norm(tensors, 0, "norm")
    for number in range(5):
        place = f"{number + 1}CNN"
        weights[f"convs.{number}.weight"] = _tensor(tensors[f"{place}/kernel"].transpose(3, 2, 0, 1))
        weights[f"convs.{number}.bias"] = _tensor(tensors[f"{place}/bias"])
        weights |= _norm(tensors, number + 1, f"norms.{number}")
    return weights


def _norm(tensors: Mapping[str, np.ndarray], number: int, name: str) -> dict[str, Tensor]:
    parts = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    place = _numbered("batch_normalization", number)
    return {f"{name}.{ours}": _tensor(tensors[f"{place}/{theirs}"]) for ours, theirs in parts.items()}


def _dense(tensors: Mapping[str, np.ndarray], place: str, name: str) -> dict[str, Tensor]:
    return {
        f"{name}.weight": _tensor(tensors[f"{place}/kernel"].T),
        f"{name}.bias": _tensor(tensors[f"{place}/bias"]),
    }


def _numbered(name: str, number: int) -> str:
    """As TensorFlow tells layers of one kind apart."""
    return f"{name}_{number}" if number else name


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32, order="C"))
