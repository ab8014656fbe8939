"""Where each published set is to be had and how it must lie on disk, and a check of what is there."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from data.datasets import captioned, giantsteps, gtzan, jamendo, magnatagatune
from data.datasets.dataset import MISSING_ALLOWED, Dataset
from data.manifest import SPLITS


@dataclass(frozen=True, kw_only=True)
class Source:
    """How to get a set.

    Attributes:
        name: as in `Dataset.name`.
        pages: addresses to fetch it from.
        files: what to fetch there, and how to unpack it.
        layout: a line for each path that must be there, with what it is given as.
        counts: tracks of every part, by `Dataset.split`, without those known to be broken; only what has been
            published or follows from it.
    """

    name: str
    title: str
    pages: tuple[str, ...]
    files: tuple[str, ...]
    layout: tuple[str, ...]
    licence: str
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """What is on disk of one part.

    Attributes:
        expected: tracks that the part has as published; None where that is not known.
        listed: tracks that the tables name.
        missing: of these, those whose file is not there.
        empty: and those whose file is there but of zero bytes.
        tags: tracks with audio that have each label.
    """

    part: str
    expected: int | None
    listed: int
    missing: int
    empty: int
    tags: Mapping[str, int]

    @property
    def present(self) -> int:
        """Tracks with audio."""
        return self.listed - self.missing - self.empty

    @property
    def is_complete(self) -> bool:
        """Whether at most 1 % of the tracks listed lack their audio, and at most 1 % of those published are not listed.

        The latter where a table was cut short: it looks whole by what it names.
        """
        is_listed = self.expected is None or self.expected - self.listed <= MISSING_ALLOWED * self.expected
        return is_listed and self.missing + self.empty <= MISSING_ALLOWED * self.listed


@dataclass(frozen=True, kw_only=True)
class DatasetReport:
    """What is on disk of a set, by its parts; `broken` are files left out as known to be damaged."""

    name: str
    split: str
    parts: tuple[PartReport, ...]
    broken: tuple[str, ...]

    @property
    def lacking(self) -> tuple[str, ...]:
        """Parts that are not complete; the test part is always looked at, since every figure needs it.

        Another part without any audio was not fetched, which is no fault, unless there is no other.
        """
        judged = [part for part in self.parts if part.present or part.part == "heldout"] or self.parts
        return tuple(part.part for part in judged if not part.is_complete)


SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source(
            name=magnatagatune.NAME,
            title="MagnaTagATune: 25,863 clips of 29 s, 188 tags, of which 50 are judged",
            pages=(
                "https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset",
                "https://github.com/minzwon/sota-music-tagging-models (split/mtat, only for --split LISTS)",
            ),
            files=(
                "annotations_final.csv, and clip_info_final.csv for names of artists",
                "mp3.zip.001 to mp3.zip.003: cat mp3.zip.00? > mp3.zip; unzip mp3.zip -d mp3",
            ),
            layout=(
                "--audio mp3                              with mp3/0/NAME-0-29.mp3 … mp3/f/NAME-0-29.mp3",
                "--annotations annotations_final.csv      as distributed, separated by tabs",
                "--clip-info clip_info_final.csv          optional",
                "--split full | minz | LISTS              12:1:3 by folder | cleaned | a folder with test.npy",
            ),
            licence="audio CC BY-NC-SA 1.0 by Magnatune, for research",
            counts={
                "full": {"train": 18_706, "valid": 1_825, "heldout": 5_328},
                "minz": {"train": 15_244, "valid": 1_529, "heldout": 4_331},
            },
        ),
        Source(
            name=gtzan.NAME,
            title="GTZAN, fault-filtered: 930 excerpts of 30 s, ten genres",
            pages=(
                "https://www.kaggle.com/datasets/andradaolteanu/gtzan-dataset-music-genre-classification",
                "https://github.com/jordipons/sklearn-audio-transfer-learning (data/index/GTZAN)",
            ),
            files=("genres_original of the archive", "train_filtered.txt, valid_filtered.txt, test_filtered.txt"),
            layout=(
                "--audio genres_original                  with blues/blues.00000.wav … rock/rock.00099.wav",
                "--annotations LISTS                      the folder with the three lists",
                "--suffix .au                             where the audio is as first published",
            ),
            licence="none stated; excerpts of commercial recordings, for research",
            counts={"fault-filtered": {"train": 442, "valid": 197, "heldout": 290}},
        ),
        Source(
            name=jamendo.NAME,
            title="MTG-Jamendo, split-0: 55,000 whole pieces; top50tags, genre, instrument, moodtheme",
            pages=("https://github.com/MTG/mtg-jamendo-dataset",),
            files=(
                "the repository, for data/splits/split-0",
                "scripts/download/download.py --dataset raw_30s --type audio (508 GB), or audio-low, or"
                " autotagging_moodtheme (152 GB)",
            ),
            layout=(
                "--audio DIR                              with 00/7400.mp3 … 99/1420599.mp3",
                "--annotations data/splits/split-0        with autotagging_SUBSET-train.tsv, -validation, -test",
                "--split top50tags | genre | instrument | moodtheme",
                "--suffix .low.mp3                        for the smaller copy, 00/7400.low.mp3",
            ),
            licence="tags CC BY-NC-SA 4.0; audio under the Creative Commons licence of each piece",
            counts={
                "split-0 top50tags": {"train": 32_136, "valid": 10_888, "heldout": 11_356},
                "split-0 moodtheme": {"train": 9_949, "valid": 3_802, "heldout": 4_231},
            },
        ),
        Source(
            name=giantsteps.NAME,
            title="GiantSteps key: 604 excerpts of two minutes, major and minor keys",
            pages=(
                "https://github.com/GiantSteps/giantsteps-key-dataset",
                "https://huggingface.co/datasets/m-a-p/GS (audio)",
                "https://github.com/GiantSteps/giantsteps-mtg-key-dataset (for --training)",
            ),
            files=("the repository; bash audio_dl.sh fetches the audio",),
            layout=(
                "--audio audio                            with 10089.LOFI.mp3 …",
                "--annotations annotations/key            with 10089.LOFI.key …",
                "--training giantsteps-mtg-key-dataset    optional, with annotations/annotations.txt and audio/",
            ),
            licence="none stated; excerpts of commercial recordings, for research",
            counts={"giantsteps": {"heldout": 604}},
        ),
        Source(
            name=captioned.SONG_DESCRIBER,
            title="Song Describer: 1,106 captions of 706 recordings",
            pages=("https://doi.org/10.5281/zenodo.10072001",),
            files=("song_describer.csv", "audio.zip: unzip audio.zip -d audio"),
            layout=(
                "--audio audio                            with 84/1000184.2min.mp3 …",
                "--annotations song_describer.csv",
                "--split valid                            only the 746 captions that were checked by hand",
            ),
            licence="captions CC BY-SA 4.0; audio under the Creative Commons licence of each piece",
            counts={"all": {"heldout": 706}, "valid": {"heldout": 547}},
        ),
        Source(
            name=captioned.MUSICCAPS,
            title="MusicCaps: 5,521 clips of 10 s from YouTube, a caption each",
            pages=("https://huggingface.co/datasets/google/MusicCaps",),
            files=("musiccaps-public.csv", "the audio is not distributed; some of the videos are gone"),
            layout=(
                "--audio DIR                              with ID.wav, [ID]-[30-40].wav, ID_30.mp3, … in any layout",
                "--annotations musiccaps-public.csv",
                "--split eval | balanced                  only those of AudioSet's evaluation part | genre-balanced",
            ),
            licence="captions CC BY-SA 4.0; audio belongs to its uploaders",
            counts={"all": {"heldout": 5_521}, "eval": {"heldout": 2_858}, "balanced": {"heldout": 1_000}},
        ),
        Source(
            name=captioned.PAIRS,
            title="Your own: any music with captions",
            pages=(),
            files=(),
            layout=(
                "--audio DIR                              the folder that paths are taken from",
                "--annotations PAIRS.csv                  with the columns path and caption, a row for each caption",
            ),
            licence="yours",
        ),
    )
}


def check_dataset(dataset: Dataset) -> DatasetReport:
    """Count what is on disk of each part that has tracks, or should have; files are looked at, not read."""
    expected = SOURCES[dataset.name].counts.get(dataset.split, {})
    reports = []
    for part in SPLITS:
        tracks = dataset.part(part).tracks
        if not tracks and part not in expected:
            continue
        sizes = [track.path.stat().st_size if track.path.is_file() else None for track in tracks]
        tags = Counter(tag for track, size in zip(tracks, sizes, strict=True) if size for tag in track.tags)
        reports.append(
            PartReport(
                part=part,
                expected=expected.get(part),
                listed=len(tracks),
                missing=sizes.count(None),
                empty=sizes.count(0),
                tags={label: tags[label] for label in dataset.labels},
            )
        )
    return DatasetReport(
        name=dataset.name, split=dataset.split, parts=tuple(reports), broken=tuple(track.id for track in dataset.broken)
    )
