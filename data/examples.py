"""One clip of a track, and its text: what a row of a training batch is made of."""

import contextlib
import dataclasses
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data.audio import load_audio, measure_seconds
from data.augment import AudioAugmentation, augment, draw_blanked
from data.captions import claimed_tags
from data.decode import AudioPath, audio_error
from data.errors import AudioError, ManifestError
from data.manifest import Track
from data.negatives import PairLabels
from data.shards import ShardCache
from data.tar import TarMember
from data.texts import TextAugmentation, draw_text

MOST_TRIES = 100
"""So many tracks are tried for a row before a corpus counts as unreadable."""


class ClipKey(NamedTuple):
    """Which clip it is: `start` is in seconds from the beginning of the track."""

    track_id: str
    start: float


class Skipped(NamedTuple):
    """A file that could not be read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Example:
    """One clip, float32 [s]; `blanked` is bool [bands, frames]; `skipped` are files that were tried for it in vain."""

    waveform: np.ndarray
    key: ClipKey
    labels: PairLabels
    text: str = ""
    blanked: np.ndarray | None = None
    skipped: tuple[Skipped, ...] = ()


class Clips:
    """A random crop of each track, a function of (seed, epoch, track id) alone.

    Args:
        sample_rate: of the crops, in Hz.
        clip_seconds: length of a crop; shorter tracks are tiled.
        grid_seconds: crops start at multiples of it, so that labels of that spacing, counted from the beginning of
            the track, lie on them; anywhere if None.
        cache: fetches the tar shards that the tracks lie in, by the file name of their path; where it is None, paths
            are read as they are. An epoch goes through half as many shards at a time as the cache keeps, so that
            neighbouring stretches fit together and each shard is fetched once; see `ShardCache`.

    Raises:
        ManifestError: there are no tracks, two have the same id, or two shards for the cache the same name.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        *,
        sample_rate: int,
        clip_seconds: float,
        seed: int,
        grid_seconds: float | None = None,
        cache: ShardCache | None = None,
    ) -> None:
        self.tracks = list(tracks)
        if not self.tracks:
            raise ManifestError("found no tracks; give a manifest whose split has some")
        if len({track.id for track in self.tracks}) < len(self.tracks):
            raise ManifestError("two tracks have the same id; give each its own")
        self.clip_samples = round(clip_seconds * sample_rate)
        self._sample_rate, self._clip_seconds, self._seed = sample_rate, clip_seconds, seed
        self._grid_seconds, self._cache = grid_seconds, cache
        self._measured: dict[int, float] = {}
        self._shards: dict[str, list[int]] = {}
        for number, track in enumerate(self.tracks if cache else []):
            self._shards.setdefault(track.path.name, []).append(number)
        if cache and len({track.path for track in self.tracks}) > len(self._shards):
            raise ManifestError("two shards of different folders have the same file name; a cache needs each its own")

    def __len__(self) -> int:
        return len(self.tracks)

    def read(self, number: int, *, epoch: int) -> Example:
        """A track's clip in an epoch.

        Raises:
            AudioError: its file cannot be read, or ends before the clip does.
        """
        return self._crop(number, seeded_generator(self._seed, epoch, self.tracks[number].id))

    def read_centre(self, number: int) -> Example:
        """The clip in the middle of a track, on the grid, without augmentation.

        Raises:
            AudioError: as for `read`.
        """
        return self._crop(number, None)

    def order(self, epoch: int) -> np.ndarray:
        """The order of the tracks in an epoch, int64 [n]: a permutation that depends on (seed, epoch) alone.

        With a cache, shards are shuffled, and then the tracks of each few that the cache holds together.
        """
        rng = seeded_generator(self._seed, epoch, "order")
        if self._cache is None:
            return self._shuffled(range(len(self.tracks)), rng)
        names = [str(name) for name in rng.permutation(sorted(self._shards))]
        step = max(1, self._cache.keep // 2)
        groups = (names[first : first + step] for first in range(0, len(names), step))
        return np.concatenate(
            [self._shuffled([n for name in group for n in self._shards[name]], rng) for group in groups]
        )

    def first_readable(self, read: Callable[[int], Example], numbers: Iterable[int], skipped: list[Skipped]) -> Example:
        """What `read` gives for the first of some tracks whose file can be read; the others are added to `skipped`.

        Raises:
            AudioError: none of them can be, or none of the first `MOST_TRIES`.
        """
        for number in itertools.islice(numbers, MOST_TRIES):
            try:
                return read(number)
            except AudioError as error:
                reason = str(error).partition(": found ")[2]
                skipped.append(Skipped(str(self.tracks[number].source), f"found {reason}"))
        path, reason = skipped[-1]
        raise AudioError(
            f"{path}: {reason}; nor could any other file that was tried be read; check the manifest's paths"
        )

    def _shuffled(self, numbers: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(numbers)

    def _crop(self, number: int, rng: np.random.Generator | None) -> Example:
        """At a random place, or in the middle without a generator."""
        track = self.tracks[number]
        with track_source(track, self._cache) as source:
            length = self._length(number, source)
            start = self._start(max(length - self._clip_seconds, 0.0), rng)
            wanted = min(self._clip_seconds, length)
            crop = load_audio(source, sample_rate=self._sample_rate, start=track.start + start, seconds=wanted)
        found = len(crop) / self._sample_rate
        if wanted - found > min(0.5, 0.1 * wanted):  # less is what encoders round, and is tiled
            what = f"found {found:.1f} s at {track.start + start:.1f} s, where {wanted:.1f} s should be"
            raise audio_error(source, what, "mend the file, or its length in the manifest")
        return Example(
            waveform=np.resize(crop, self.clip_samples),
            key=ClipKey(track.id, start),
            labels=PairLabels(track_id=track.id, tags=track.tags, absent=track.absent, scores=track.scores),
        )

    def _start(self, latest: float, rng: np.random.Generator | None) -> float:
        if self._grid_seconds is None:
            return float(rng.uniform(0, latest)) if rng else latest / 2
        places = int(latest / self._grid_seconds + 1e-6) + 1
        return int(rng.integers(places) if rng else (places - 1) // 2) * self._grid_seconds

    def _length(self, number: int, source: AudioPath) -> float:
        """Seconds of the track; measured at its first use where the manifest does not say."""
        track = self.tracks[number]
        if track.length is not None:
            return track.length
        if number not in self._measured:
            seconds = measure_seconds(source)
            if seconds <= track.start:
                raise audio_error(source, f"found {seconds:.1f} s", f"the track starts at {track.start:g} s")
            self._measured[number] = seconds - track.start
        return self._measured[number]


class CaptionedClips(Clips):
    """Clips with a random text of each track, both augmented; functions of (seed, epoch, track id) alone, too.

    Where clips are mixed, they depend on the list of tracks as well.

    Args:
        mel_shape: bands and frames of the mel of a clip; needed where `audio` blanks parts of it.
        mute: how clips of tracks without captions and tags are augmented; what is mixed into them is of such tracks,
            too. They have no text. None refuses them.
        kin: up to so many tracks in a row share a tag, so that the clips of a batch are hard to tell apart. Which of
            its tags counts is drawn for each track and epoch, rare ones more often. 1 leaves the order to chance.

    Raises:
        ManifestError: as for `Clips`, or a track has neither captions nor tags, and `mute` is None.
        ValueError: `audio` has spec_augment, and there is no mel_shape.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        *,
        text: TextAugmentation,
        audio: AudioAugmentation,
        sample_rate: int,
        clip_seconds: float,
        seed: int,
        mute: AudioAugmentation | None = None,
        mel_shape: tuple[int, int] | None = None,
        kin: int = 1,
        cache: ShardCache | None = None,
    ) -> None:
        super().__init__(tracks, sample_rate=sample_rate, clip_seconds=clip_seconds, seed=seed, cache=cache)
        unsaid = [track.id for track in self.tracks if track.is_mute]
        if unsaid and mute is None:
            raise ManifestError(
                f"{len(unsaid)} tracks, such as {unsaid[0]!r}, have neither captions nor tags; give them some"
            )
        if audio.spec_augment and mel_shape is None:
            raise ValueError("spec_augment needs mel_shape")
        self._text, self._audio, self._mute, self._mel_shape, self._kin = text, audio, mute, mel_shape, kin
        self._tag_counts = Counter(tag for track in self.tracks for tag in track.tags)

    def read(self, number: int, *, epoch: int) -> Example:
        """A track's clip and text in an epoch; unreadable files that were to be mixed in are in its `skipped`.

        Raises:
            AudioError: as for `Clips.read`.
        """
        track = self.tracks[number]
        rng = seeded_generator(self._seed, epoch, track.id)
        example = self._crop(number, rng)
        text, claims = ("", ()) if track.is_mute else draw_text(track, rng, self._text)
        skipped: list[Skipped] = []

        def is_alone(near: Sequence[int]) -> bool:
            return not any(self.tracks[n].is_mute == track.is_mute and n != number for n in near)

        def other() -> np.ndarray:
            # Of the same shard, which is here already, where shards are fetched.
            near = self._shards[track.path.name] if self._cache else range(len(self.tracks))
            first = int(rng.integers(len(near)))
            from_there = (near[(first + i) % len(near)] for i in range(len(near)))
            alike = (n for n in from_there if self.tracks[n].is_mute == track.is_mute)
            others = (n for n in alike if n != number or is_alone(near))
            return self.first_readable(lambda n: self._crop(n, rng), others, skipped).waveform

        how = self._mute if track.is_mute and self._mute else self._audio
        waveform = augment(example.waveform, rng, how, other)
        return dataclasses.replace(
            example,
            waveform=waveform,
            text=text,
            labels=dataclasses.replace(example.labels, claims=tuple(claims)),
            blanked=self._draw_blanked(rng),
            skipped=tuple(skipped),
        )

    def read_centre(self, number: int) -> Example:
        """The clip in the middle of a track, with its first caption, or all its tags if it has none.

        Raises:
            AudioError: as for `Clips.read`.
        """
        track = self.tracks[number]
        text = track.captions[0] if track.captions else ", ".join(track.tags)
        claims = claimed_tags(text, track.tags)
        example = super().read_centre(number)
        return dataclasses.replace(example, text=text, labels=dataclasses.replace(example.labels, claims=claims))

    def _shuffled(self, numbers: Sequence[int], rng: np.random.Generator) -> np.ndarray:
        order = super()._shuffled(numbers, rng)
        if self._kin == 1:
            return order
        by_tag: dict[str, list[int]] = {}
        for number in order:
            by_tag.setdefault(self._drawn_tag(int(number), rng), []).append(int(number))
        groups = [[number] for number in by_tag.pop("", [])]
        groups += [alike[i : i + self._kin] for alike in by_tag.values() for i in range(0, len(alike), self._kin)]
        return np.array([number for group in rng.permutation(len(groups)) for number in groups[group]])

    def _drawn_tag(self, number: int, rng: np.random.Generator) -> str:
        """One of a track's tags, each as likely as it is rare."""
        tags = self.tracks[number].tags
        if not tags:
            return ""
        rareness = 1 / np.array([self._tag_counts[tag] for tag in tags])
        return tags[rng.choice(len(tags), p=rareness / rareness.sum())]

    def _draw_blanked(self, rng: np.random.Generator) -> np.ndarray | None:
        if self._audio.spec_augment is None or self._mel_shape is None:
            return None
        bands, frames = self._mel_shape
        return draw_blanked(rng, self._audio, bands=bands, frames=frames)


@contextlib.contextmanager
def track_source(track: Track, cache: ShardCache | None) -> Iterator[AudioPath]:
    """What a track is read from until the block ends: its file, or its tar, fetched if there is a cache.

    Raises:
        ManifestError: the shard cannot be fetched.
    """
    if cache is None or track.member is None:
        yield track.source
        return
    with cache.use(track.path.name) as path:
        yield TarMember(path, track.member)


def seeded_generator(seed: int, epoch: int, name: str) -> np.random.Generator:
    """A generator that depends on its arguments alone, the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{name}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))
