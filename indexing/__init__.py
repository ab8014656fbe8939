"""Vectors in, neighbours out: keep an index of music folders, and search it."""

from indexing.embedding import Progress
from indexing.index import Hit, Index, Share, TrackRecord
from indexing.scoring import Scoring
from indexing.selection import Selection
from indexing.sync import SyncReport, sync_library

__all__ = ["Hit", "Index", "Progress", "Scoring", "Selection", "Share", "SyncReport", "TrackRecord", "sync_library"]
