"""Engines: for a query, the best rows of an index's vectors with their float32 scores, exactly or by an IVF file."""

from indexing.engines.choice import EXACT_BELOW, IvfSettings, choose_engine, ivf_settings
from indexing.engines.description import ENGINE_FILE, Coverage, Description, check_engine, store_tuned
from indexing.engines.exact import ExactEngine
from indexing.engines.ivf import IvfEngine, build_ivf, open_engine
from indexing.engines.vectors import Engine, Neighbours, ShardVectors, Vectors

__all__ = [
    "ENGINE_FILE",
    "EXACT_BELOW",
    "Coverage",
    "Description",
    "Engine",
    "ExactEngine",
    "IvfEngine",
    "IvfSettings",
    "Neighbours",
    "ShardVectors",
    "Vectors",
    "build_ivf",
    "check_engine",
    "choose_engine",
    "ivf_settings",
    "open_engine",
    "store_tuned",
]
