"""Joint music-text embeddings: models, their training and their evaluation.

`import mulan` is cheap: torch and transformers are loaded on first use of `load_encoder`.
"""

from typing import TYPE_CHECKING, Any

from data.errors import AudioError, CheckpointError, ConfigError, ManifestError, MulanError, StoreError

if TYPE_CHECKING:
    from mulan.encoder import load_encoder
    from mulan.encoding import Encoder

__version__ = "0.1.0"
__all__ = [
    "AudioError",
    "CheckpointError",
    "ConfigError",
    "Encoder",
    "ManifestError",
    "MulanError",
    "StoreError",
    "__version__",
    "load_encoder",
]


def __getattr__(name: str) -> Any:
    """Resolve `Encoder` and `load_encoder` on first use, because they need torch."""
    if name == "load_encoder":
        from mulan.encoder import load_encoder

        return load_encoder
    if name == "Encoder":
        from mulan.encoding import Encoder

        return Encoder
    raise AttributeError(f"module 'mulan' has no attribute {name!r}")
