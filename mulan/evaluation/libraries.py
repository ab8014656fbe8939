"""Which versions of what an evaluation ran with."""

import platform
from importlib.metadata import PackageNotFoundError, version

LIBRARIES = (
    *("mulan-retrieval", "torch", "torchaudio", "torchvision"),
    *("transformers", "tokenizers", "sentence-transformers", "open_clip_torch"),
    *("numpy", "scikit-learn", "soundfile", "av", "soxr", "tinytag", "faiss-gpu", "faiss-cpu"),
)
"""Whose versions figures depend on, by the names under which they are installed."""

NOT_INSTALLED = "not installed"


def installed_libraries() -> dict[str, str]:
    """Give by name the versions of Python and of each of `LIBRARIES`, or "not installed"; nothing is imported."""
    return {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}}


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return NOT_INSTALLED
