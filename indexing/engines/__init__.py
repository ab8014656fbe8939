"""Engines: for a query, the best rows of an index's vectors with their float32 scores, exactly or by an IVF file."""

from indexing.engines.choice import EXACT_BELOW, IvfSettings, choose_engine, ivf_settings
from indexing.engines.exact import ExactEngine
from indexing.engines.ivf import ENGINE_FILE, IvfEngine, build_ivf, open_engine
from indexing.engines.vectors import Engine, Neighbours, ShardVectors, Vectors

__all__ = [
    "ENGINE_FILE",
    "EXACT_BELOW",
    "Engine",
    "ExactEngine",
    "IvfEngine",
    "IvfSettings",
    "Neighbours",
    "ShardVectors",
    "Vectors",
    "build_ivf",
    "choose_engine",
    "ivf_settings",
    "open_engine",
]
