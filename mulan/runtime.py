"""Where the model runs and how precisely: chosen once, with a reason that can be shown."""

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from data.errors import ConfigError

DeviceChoice = str  # "auto", "cpu", "cuda", "cuda:1", "mps"
DEVICE_TYPES = ("cpu", "cuda", "mps")
PrecisionChoice = Literal["auto", "float32", "bfloat16"]
# Parameters of mallopt, from malloc.h of glibc.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A device, the dtype of the audio backbone on it, and why they were chosen."""

    device: torch.device
    dtype: torch.dtype
    reason: str

    @property
    def precision(self) -> str:
        """The dtype's name as users write it: float32 or bfloat16."""
        return str(self.dtype).removeprefix("torch.")

    def autocast(self) -> torch.autocast:
        """A context in which products are of this dtype; none of them changes in float32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)


def choose_runtime(device: DeviceChoice = "auto", precision: PrecisionChoice = "auto") -> Runtime:
    """Choose device and precision; an explicit wish that cannot be met is an error, never a fallback.

    Raises:
        ConfigError: the device does not exist here, or a name is unknown.
    """
    chosen, device_reason = _choose_device(device)
    dtype, dtype_reason = _choose_dtype(chosen, precision)
    return Runtime(device=chosen, dtype=dtype, reason=f"{device_reason}; {dtype_reason}")


def _choose_device(wish: DeviceChoice) -> tuple[torch.device, str]:
    if wish == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), f"auto-detected {torch.cuda.get_device_name()}"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "auto-detected Apple GPU"
        return torch.device("cpu"), "no GPU found"
    if wish.partition(":")[0] not in DEVICE_TYPES:
        raise ConfigError(f"device {wish!r} is unknown; use 'auto', 'cpu', 'cuda' or 'mps'")
    try:
        device = torch.device(wish)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        cause = str(error).partition("\n")[0]
        raise ConfigError(f"device {wish!r} cannot be used here ({cause}); use 'auto' or 'cpu'") from error
    return device, f"{wish} as asked"


def _choose_dtype(device: torch.device, wish: PrecisionChoice) -> tuple[torch.dtype, str]:
    if wish not in {"auto", "float32", "bfloat16"}:
        raise ConfigError(f"precision {wish!r} is unknown; use 'auto', 'float32' or 'bfloat16'")
    if wish != "auto":
        return getattr(torch, wish), f"{wish} as asked"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "bfloat16 because the GPU has it"
        return torch.float32, "float32 because the GPU lacks bfloat16"
    if device.type == "cpu":
        if torch.cpu._is_amx_tile_supported():
            return torch.bfloat16, "bfloat16 because the CPU has AMX"
        if torch.cpu._is_avx512_bf16_supported():
            return torch.bfloat16, "bfloat16 because the CPU has AVX512-BF16"
    return torch.float32, f"float32 because {device.type} here has no fast bfloat16"


def keep_memory() -> bool:
    """Make this process keep the memory it has freed, for as long as it runs; gives whether that is possible here.

    glibc hands large blocks back to the system at once, which must clear every page again when the next step asks for
    the same block: half the time of training on a CPU. The price is that memory use stays at its peak, so this is for
    processes that do one long thing. Elsewhere than on glibc nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))


def decoding_threads() -> int:
    """How many files to decode at the same time: on half of the cores that this process may use."""
    return max(1, _cores() // 2)


def prepare_for_bulk() -> None:
    """Make this process quick at embedding many files: it keeps its memory, and leaves the decoders their cores.

    On 2 cores, 43 min of ogg took 8.8 s after it and 12.2 s without: threads of torch that wait for each other keep the
    decoder from its core.
    """
    keep_memory()
    torch.set_num_threads(min(torch.get_num_threads(), max(1, _cores() - decoding_threads())))


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def mulan_home() -> Path:
    """The folder for everything generated: $MULAN_HOME, or ~/.cache/mulan."""
    return Path(os.environ.get("MULAN_HOME") or Path.home() / ".cache" / "mulan")
