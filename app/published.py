"""What others have published on the sets that `mulan eval` knows, and whether a result may stand beside it.

A published figure stands only beside one of the same split of the same set, judged whole and by the same labels: never
beside a figure on made-up music, on one's own tracks, on a subset, or on a handful of the set's clips.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.report_terms import DIRECTIONS, RETRIEVAL, TAGGING
from data.datasets.captioned import MUSICCAPS, SONG_DESCRIBER
from data.datasets.magnatagatune import NAME as MTT
from data.datasets.magnatagatune import TAGS
from data.datasets.sources import SOURCES


@dataclass(frozen=True, kw_only=True)
class Row:
    """One published model: figures as shares by the names that a result has for them, and where they are from."""

    model: str
    figures: Mapping[str, float]
    source: str
    caveat: str = ""
    trained_on: str = ""


@dataclass(frozen=True, kw_only=True)
class Published:
    """Figures of one set.

    Attributes:
        splits: those that the figures are of, or may be of where `caveats` say that it is not stated.
        figures: which of a result's figures are published, and their headings.
        least_used: share of the set's tracks that a result must rest on to stand beside them.
        caveats: what is true of all rows.
    """

    title: str
    splits: tuple[str, ...]
    figures: Mapping[str, str]
    rows: tuple[Row, ...]
    caveats: tuple[str, ...]
    least_used: float = 0.99


_MUQ = "MuQ paper, arXiv:2501.01108, table 5"
_MTEB = "MTEB, its stored results"
_CLAMP = "CLaMP 3 paper"
_SONGS = "Song Describer paper, arXiv:2311.10057, table 5"
_SECOND_HAND = "from another's notes; neither direction nor subset stated"


def _mtt(model: str, hours: str, roc_auc: float, pr_auc: float | None = None, caveat: str = "") -> Row:
    figures = {"roc_auc": roc_auc} if pr_auc is None else {"roc_auc": roc_auc, "pr_auc": pr_auc}
    return Row(model=model, figures=figures, source=_MUQ, caveat=caveat, trained_on=hours)


def _recalls(model: str, way: str, percent: tuple[float, ...], source: str, caveat: str = "") -> Row:
    """R@1, R@5, R@10 and, where it is given, mAP@10 in per cent."""
    names = ("r_at_1", "r_at_5", "r_at_10", "map_at_10")
    figures = {name: value / 100 for name, value in zip(names, percent, strict=False)}
    return Row(model=f"{model}, {way}", figures=figures, source=source, caveat=caveat)


def _mrr(model: str, value: float) -> Row:
    return Row(model=model, figures={"mrr": value}, source=_CLAMP, caveat=_SECOND_HAND)


_FORWARD, _BACKWARD = DIRECTIONS["text_to_audio"], DIRECTIONS["audio_to_text"]

PUBLISHED: Mapping[str, Published] = {
    MTT: Published(
        title="published zero-shot MagnaTagATune",
        splits=("full", "minz"),
        figures=TAGGING,
        rows=(
            _mtt("LAION-CLAP", "4K", 0.739, 0.250),
            _mtt("MS-CLAP 2023", "not stated", 0.759, 0.289),
            _mtt("MuLan (Google)", "370K", 0.782, caveat="taken there from the MuLan paper, arXiv:2208.12415"),
            _mtt("MERT-MuLan", "130K", 0.755, 0.246),
            _mtt("MusicFM-MuLan", "130K", 0.762, 0.271),
            _mtt("MuQ-MuLan", "130K", 0.793, 0.293, "not stated whether of the released checkpoint"),
        ),
        caveats=(
            "Split and prompts of the published figures are not stated.",
            "Figures on the full split (5,329 test clips) and on the cleaned one (4,332) are not comparable.",
        ),
    ),
    SONG_DESCRIBER: Published(
        title="published retrieval on Song Describer",
        splits=("all",),
        figures={name: heading for name, heading in RETRIEVAL.items() if name != "map_at_10"},
        rows=(
            _recalls("CLAP", _FORWARD, (4.42, 17.02, 26.01), _SONGS, "subset not known"),
            _recalls(
                "laion/clap-htsat-fused", _FORWARD, (1.45, 5.51, 8.77), "mteb pull request 4988", "of all captions"
            ),
            _mrr("CLAP", 0.1310),
            _mrr("TTMR++", 0.1437),
            _mrr("CLaMP 3 (sa, c2)", 0.1612),
            _mrr("CLaMP 3 (saas)", 0.1985),
        ),
        caveats=(
            "A rank depends on what else is ranked: all 1,106 captions of 706 recordings and the checked subset of 746"
            " and 547, which is easier, are not comparable. MTEB's row is known to be of all; the others may be of the"
            " subset.",
        ),
    ),
    MUSICCAPS: Published(
        title="published retrieval on MusicCaps",
        splits=("all",),
        figures={name: heading for name, heading in RETRIEVAL.items() if name != "mrr"},
        rows=(
            _recalls("MuQ-MuLan-large", _FORWARD, (3.55, 11.19, 17.92, 6.98), _MTEB, "probably too low"),
            _recalls("MuQ-MuLan-large", _BACKWARD, (3.48, 12.38, 19.32), _MTEB, "probably too low"),
            _recalls("MS-CLAP 2023", _FORWARD, (5.89, 19.22, 27.94, 11.65), _MTEB),
            _recalls("laion/larger_clap_music", _FORWARD, (0.02, 0.12, 0.21, 0.07), _MTEB, "a broken run: at chance"),
            _recalls("laion/clap-htsat-unfused", _BACKWARD, (4.39, 11.70, 17.54, 7.70), "mteb pull request 2977"),
        ),
        caveats=(
            "Everyone ranks those clips whose videos they could still get, in MTEB about 4,281 of 5,521: the fewer, the"
            " higher the figures.",
            "MTEB's code embeds captions in one padded batch and pads audio with zeros, which MuQ-MuLan's figures"
            " probably suffer from (inferred: the code that made them is not proven to be the same).",
        ),
        least_used=0.75,
    ),
}


def why_apart(figures: Any, record: Any) -> str | None:
    """Why nothing published may stand beside a result, as a sentence; None if it may."""
    published = PUBLISHED.get(record.dataset)
    if published is None:
        return "Published figures exist only for a set's own protocol; for this set none are known."
    counts = SOURCES[record.dataset].counts
    sizes = {split: counts[split]["heldout"] for split in published.splits}
    listed = record.clips.used + record.clips.missing + record.clips.failed
    if record.dataset == MTT and record.split.startswith("lists of "):  # of either split
        expected = set(sizes.values())
    elif record.split in sizes:
        expected = {sizes[record.split]}
    elif record.split in counts:
        splits = " or ".join(map(repr, sizes))
        return f"No published figures: they are of {splits}, this result is of {record.split!r}."
    else:
        return f"No published figures: {record.split!r} is none of the set's splits."
    if figures.task == "tagging" and {*figures.per_tag, *figures.unscored_tags} != set(TAGS):
        return "No published figures: they are averages over the usual 50 tags, this one is not."
    if listed not in expected:
        whole = " or ".join(f"{size:,}" for size in sorted(expected))
        return f"No published figures: they are of the whole set, {whole} tracks; this result is of {listed:,}."
    if record.clips.used < published.least_used * listed:
        return f"No published figures: {listed - record.clips.used:,} of {listed:,} tracks could not be judged."
    return None
