"""Vectors in, neighbours out: build an index of a music folder, and search it."""

from indexing.build import BuildReport, Progress, build_index
from indexing.index import Hit, Index
from indexing.store import TrackRecord

__all__ = ["BuildReport", "Hit", "Index", "Progress", "TrackRecord", "build_index"]
