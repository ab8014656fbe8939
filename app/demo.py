"""The demo library: clips of our own making, indexed on first use under $MULAN_HOME."""

from pathlib import Path

from indexing import Index, build_index
from mulan.encoding import Encoder
from mulan.runtime import mulan_home

DEMO_LIBRARY = Path(__file__).parent.parent / "data" / "demo"


def open_demo(encoder: Encoder) -> Index:
    """The demo library's index for this encoder; built, or brought up to date, when it is asked for."""
    folder = mulan_home() / "demo" / encoder.fingerprint[:12]
    build_index(encoder, DEMO_LIBRARY, folder)
    return Index.open(folder)
