"""What `mulan doctor` asks of the machine: the model's files, the device that works, the libraries installed."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from data.errors import CheckpointError
from mulan.encoding import Encoder
from mulan.evaluation.checks import Check, hears
from mulan.evaluation.libraries import NOT_INSTALLED
from mulan.evaluation.signals import music
from mulan.hub import read_text

RECORD_FILE = "SHA256SUMS"
_TORCHVISION_AHEAD = 15  # torch 2.n goes with torchvision 0.(n + 15)
_GIT_HASH, _SHA256 = 40, 64  # digits


def check_files(folder: Path | None) -> Check:
    """Whether a model's files are those that were recorded.

    The record is SHA256SUMS in the folder, as `sha256sum` writes it, or for a model of the hub the names of the files
    in its cache, which are hashes of their content.
    """
    recorded = dict(_recorded(folder)) if folder is not None else {}
    wrong = [path.name for path, expected in recorded.items() if _hash(path, expected) != expected]
    if not recorded:
        found, passed = "nothing to compare with", None
    elif wrong:
        found, passed = f"missing or changed: {', '.join(wrong)}", False
    else:
        found, passed = f"{len(recorded)} files as recorded", True
    return Check(
        name="checksum",
        passed=passed,
        found=found,
        allowed=f"as in {RECORD_FILE} or the hub's cache",
        remedy=f"fetch the model again; to record your own: sha256sum *.json *.safetensors > {RECORD_FILE}",
    )


def check_device(encoder: Encoder, asked: str) -> Check:
    """Whether the matrix products of a text and of a window, operands and results, are on the device asked for.

    Args:
        asked: as for `load_encoder`; for "auto" the device that the encoder says it chose.
    """
    wanted = torch.device(encoder.device if asked == "auto" else asked)
    waveform = music(encoder.sample_rate, seconds=encoder.clip_seconds) if hears(encoder) else None
    on_cuda = wanted.type == "cuda" and torch.cuda.is_available()
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(wanted)
    with _Watch() as watch:
        encoder.encode_text(["piano"])
        if waveform is not None:
            encoder.encode_audio([waveform], encoder.sample_rate)
    elsewhere = [device for device in watch.devices if not _is_on(device, wanted)]
    found = ", ".join(f"{count} tensors on {device}" for device, count in watch.devices.items()) or "no torch at work"
    passed = bool(watch.devices) and not elsewhere
    if on_cuda:
        peak = torch.cuda.max_memory_allocated(wanted)
        found, passed = f"{found}, {peak / 1e9:.2f} GB at most", passed and peak > 0
    return Check(
        name="device used",
        passed=passed,
        found=found,
        allowed=f"all matrix products on {wanted}",
        remedy="install a torch that was built for this device, and ask for it with --device",
    )


def check_libraries(installed: Mapping[str, str]) -> Check:
    """Whether torch, torchaudio and torchvision are of one set.

    Args:
        installed: versions by name, as `installed_libraries` gives them.
    """
    installed = {name: number for name, number in installed.items() if number != NOT_INSTALLED}
    torch_version, _, build = installed.get("torch", "").partition("+")
    minor = ".".join(torch_version.split(".")[:2])
    wanted = {"torchaudio": minor}
    if minor.startswith("2."):
        wanted["torchvision"] = f"0.{int(minor.partition('.')[2]) + _TORCHVISION_AHEAD}"
    misfits = []
    for name, series in wanted.items():
        number, _, its_build = installed.get(name, f"{series}+{build}").partition("+")
        if ".".join(number.split(".")[:2]) != series or (its_build and build and its_build != build):
            misfits.append(f"{name} {installed[name]} beside torch {installed['torch']}")
    return Check(
        name="libraries",
        passed=not misfits,
        found="; ".join(misfits)
        or ", ".join(f"{name} {installed[name]}" for name in ("torch", *wanted) if name in installed),
        allowed="torch, torchaudio and torchvision of one set and build",
        remedy="install the three together, from one place; other sets break at import",
    )


class _Watch(TorchDispatchMode):
    """Counts the tensors that go into matrix products and convolutions and come out of them, by device."""

    def __init__(self) -> None:
        super().__init__()
        self.devices: Counter[torch.device] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._overloadpacket not in flop_registry:
            with self:  # under inference mode a linear layer comes whole, with the product inside
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if func._overloadpacket in flop_registry:
            self.devices.update(leaf.device for leaf in tree_leaves((args, result)) if isinstance(leaf, Tensor))
        return result


def _is_on(device: torch.device, wanted: torch.device) -> bool:
    return device.type == wanted.type and (wanted.index is None or device.index == wanted.index)


def _recorded(folder: Path) -> Iterator[tuple[Path, str]]:
    record = folder / RECORD_FILE
    if record.is_file():
        for line in read_text(record).splitlines():
            expected, _, name = line.partition(" ")
            if len(expected) != _SHA256:
                raise CheckpointError(
                    f"{record}: found {line[:80]!r}; each line is a sha256, two blanks, a file's name"
                )
            yield folder / name.lstrip(" *"), expected
        return
    for path in sorted(folder.rglob("*")):
        blob = path.resolve()
        if path.is_symlink() and blob.parent.name == "blobs" and len(blob.name) in (_GIT_HASH, _SHA256):
            yield path, blob.name


def _hash(path: Path, like: str) -> str:
    """The file's hash of the kind of `like`: sha256, or for small files of the hub git's; empty if it is missing."""
    if not path.is_file():
        return ""
    if len(like) == _GIT_HASH:
        content = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
