"""What a sync decides to do: `pytest tests/indexing/test_sync_plan.py`.

A made file's content is a letter; it lies at a path, with a size and a time. The tracks of an index are the files
it once saw.
"""

import random
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from data.errors import AudioError, StoreError
from indexing.catalogue import KnownFile
from indexing.scan import NOT_MOUNTED, AudioFile, Remark, Scan
from indexing.sync_plan import KeptTrack, PlannedFile, plan_sync


class Made(NamedTuple):
    path: str
    content: str = "A"
    size: int = 100
    mtime_ns: int = 1

    @property
    def file(self):
        return AudioFile(self.path, self.size, self.mtime_ns)


def tracks(*made, first=1):
    return [KnownFile(first + place, one.path, one.size, one.mtime_ns, one.content) for place, one in enumerate(made)]


class World:
    """Files on disk; `hashed` lists the paths whose content was asked for."""

    def __init__(self, *files, unseen=(), mounts=()):
        self.contents = {one.path: one.content for one in files}
        self.hashed = []
        self.scan = Scan(
            root=Path("/music"),
            files=tuple(sorted(one.file for one in files)),
            passed_over=(),
            unseen=tuple(unseen),
            mounts=tuple(mounts),
        )

    def plan(self, known=(), *, quarantine=(), **options):
        return plan_sync(self.scan, known, quarantine=quarantine, content_of=self._content, **options)

    def _content(self, file):
        self.hashed.append(file.path)
        if self.contents[file.path] == "broken":
            raise AudioError(f"{file.path}: found no audio; give audio")
        return self.contents[file.path]


def done(plan):
    """The parts of a plan that are not empty, as paths."""
    parts = {}
    for name, entries in vars(plan).items():
        if entries and name != "mounts":
            parts[name] = [_path(entry) for entry in entries]
    return parts


def _path(entry):
    if isinstance(entry, KeptTrack):
        return f"{entry.track.path} -> {entry.file.path}"
    if isinstance(entry, PlannedFile):
        return entry.file.path
    return entry if isinstance(entry, str) else entry.path


def test_a_first_sync_embeds_everything_and_hashes_nothing_where_sizes_differ():
    world = World(Made("a.mp3", "A", 1), Made("b.mp3", "B", 2))

    assert done(world.plan()) == {"new": ["a.mp3", "b.mp3"]}
    assert world.hashed == []


def test_files_of_unchanged_size_and_time_are_unchanged_and_not_hashed():
    world = World(Made("a.mp3", "A"), Made("b.mp3", "B"))

    assert done(world.plan(tracks(Made("a.mp3", "A"), Made("b.mp3", "B")))) == {"unchanged": ["a.mp3", "b.mp3"]}
    assert world.hashed == []


def test_a_new_album_is_new_and_only_a_file_of_a_known_size_is_hashed():
    world = World(Made("a.mp3", "A", 1), Made("b.mp3", "B", 2), Made("c.mp3", "C", 1))

    assert done(world.plan(tracks(Made("a.mp3", "A", 1)))) == {"unchanged": ["a.mp3"], "new": ["b.mp3", "c.mp3"]}
    assert world.hashed == ["c.mp3"]


def test_a_hash_that_was_computed_is_handed_on():
    world = World(Made("a.mp3", "A", 1), Made("b.mp3", "B", 2), Made("c.mp3", "C", 1))

    new = world.plan(tracks(Made("a.mp3", "A", 1))).new

    assert [(planned.file.path, planned.content) for planned in new] == [("b.mp3", None), ("c.mp3", "C")]


def test_a_changed_file_replaces_its_track():
    world = World(Made("a.mp3", "B", 200, 2))
    (track,) = known = tracks(Made("a.mp3", "A"))

    plan = world.plan(known)

    assert done(plan) == {"changed": ["a.mp3"]}
    assert plan.changed[0].replaces == track


@pytest.mark.parametrize("file", [Made("a.mp3", "A", 120, 2), Made("a.mp3", "A", 100, 2)], ids=["tags", "touched"])
def test_a_file_with_the_same_audio_and_other_size_or_time_is_retagged(file):
    assert done(World(file).plan(tracks(Made("a.mp3", "A")))) == {"retagged": ["a.mp3 -> a.mp3"]}


def test_a_track_without_a_file_is_gone():
    world = World(Made("a.mp3", "A"))

    plan = world.plan(tracks(Made("a.mp3", "A"), Made("b.mp3", "B", 2)))

    assert done(plan) == {"unchanged": ["a.mp3"], "gone": ["b.mp3"]}


def test_a_renamed_folder_is_moved_and_only_files_of_the_sizes_of_its_tracks_are_hashed():
    world = World(Made("new/a.mp3", "A", 1), Made("new/b.mp3", "B", 2), Made("other.mp3", "C", 3))

    plan = world.plan(tracks(Made("old/a.mp3", "A", 1), Made("old/b.mp3", "B", 2)))

    assert done(plan) == {"moved": ["old/a.mp3 -> new/a.mp3", "old/b.mp3 -> new/b.mp3"], "new": ["other.mp3"]}
    assert world.hashed == ["new/a.mp3", "new/b.mp3"]


def test_a_file_that_was_moved_and_retagged_at_once_is_found_among_new_files_of_its_suffix():
    world = World(Made("new/a.MP3", "A", 130, 2), Made("new/b.flac", "B", 500), Made("new/c.mp3", "C", 600))

    plan = world.plan(tracks(Made("old/a.mp3", "A", 100)))

    assert done(plan) == {"moved": ["old/a.mp3 -> new/a.MP3"], "new": ["new/b.flac", "new/c.mp3"]}
    assert world.hashed == ["new/a.MP3"]  # after it no track is missing


def test_two_files_that_changed_places_are_moved():
    world = World(Made("a.mp3", "B", 2), Made("b.mp3", "A", 1))

    plan = world.plan(tracks(Made("a.mp3", "A", 1), Made("b.mp3", "B", 2)))

    assert done(plan) == {"moved": ["b.mp3 -> a.mp3", "a.mp3 -> b.mp3"]}


def test_a_file_moved_over_another_leaves_that_ones_track_gone():
    world = World(Made("b.mp3", "A", 1))

    plan = world.plan(tracks(Made("a.mp3", "A", 1), Made("b.mp3", "B", 2)))

    assert done(plan) == {"moved": ["a.mp3 -> b.mp3"], "gone": ["b.mp3"]}


def test_where_a_file_was_moved_away_and_another_put_in_its_place_that_one_is_new():
    world = World(Made("a.mp3", "C", 3), Made("b.mp3", "A", 1))

    plan = world.plan(tracks(Made("a.mp3", "A", 1)))

    assert done(plan) == {"moved": ["a.mp3 -> b.mp3"], "new": ["a.mp3"]}
    assert plan.new[0].replaces is None


def test_a_copy_of_a_track_that_stays_is_a_copy():
    world = World(Made("a.mp3", "A"), Made("copy.mp3", "A", 100, 2))

    plan = world.plan(tracks(Made("a.mp3", "A")))

    assert done(plan) == {"unchanged": ["a.mp3"], "copies": ["copy.mp3"]}
    assert plan.copies[0].content == "A"


def test_of_two_new_files_with_the_same_audio_the_second_is_a_copy():
    assert done(World(Made("a.mp3"), Made("b.mp3")).plan()) == {"new": ["a.mp3"], "copies": ["b.mp3"]}


def test_of_two_tracks_with_the_same_audio_each_moves_to_a_file_of_its_own():
    world = World(Made("x/a.mp3"), Made("x/b.mp3"), Made("x/c.mp3"))

    plan = world.plan(tracks(Made("a.mp3"), Made("b.mp3")))

    assert done(plan) == {"moved": ["a.mp3 -> x/a.mp3", "b.mp3 -> x/b.mp3"], "copies": ["x/c.mp3"]}


def test_a_file_overwritten_with_the_audio_of_another_track_is_a_copy_that_replaces_its_own():
    world = World(Made("a.mp3", "A"), Made("b.mp3", "A", 100, 2))
    known = tracks(Made("a.mp3", "A"), Made("b.mp3", "B"))

    plan = world.plan(known)

    assert done(plan) == {"unchanged": ["a.mp3"], "copies": ["b.mp3"]}
    assert plan.copies[0].replaces == known[1]


def test_a_track_of_another_library_lends_its_vectors_and_stays_where_it_is():
    world = World(Made("b.mp3", "A"))

    plan = world.plan(elsewhere=tracks(Made("a.mp3", "A")))

    assert done(plan) == {"copies": ["b.mp3"]}


def test_an_unusable_file_is_left_alone_until_it_changes_and_forgotten_when_it_is_gone():
    same, changed, gone = Made("same.mp3"), Made("changed.mp3", mtime_ns=1, size=5), Made("gone.mp3")
    world = World(same, changed._replace(mtime_ns=2))

    plan = world.plan(quarantine=[same.file, changed.file, gone.file])

    assert done(plan) == {"quarantined": ["same.mp3"], "new": ["changed.mp3"], "released": ["gone.mp3"]}
    assert world.hashed == []


def test_a_file_that_cannot_be_hashed_is_embedded_to_learn_why():
    world = World(Made("a.mp3", "broken", 100, 2), Made("b.mp3", "broken"))

    plan = world.plan(tracks(Made("a.mp3", "A")))

    assert done(plan) == {"changed": ["a.mp3"], "new": ["b.mp3"]}
    assert world.hashed == ["a.mp3", "b.mp3"]


def test_tracks_and_quarantine_below_what_could_not_be_seen_stay():
    world = World(Made("a.mp3", "A", 1), unseen=[Remark("locked", "Permission denied"), Remark("z.mp3", "gone")])
    known = tracks(*(Made(path, path, 2) for path in ("b.mp3", "locked/b.mp3", "locked2/b.mp3", "z.mp3")))

    plan = world.plan(known, quarantine=[Made("locked/x/bad.mp3").file])

    assert done(plan) == {"new": ["a.mp3"], "gone": ["b.mp3", "locked2/b.mp3"], "unseen": ["locked/b.mp3", "z.mp3"]}


def test_a_file_with_the_audio_of_an_unseen_track_is_a_copy_of_it():
    world = World(Made("a.mp3", "A"), unseen=[Remark("usb", NOT_MOUNTED)])

    assert done(world.plan(tracks(Made("usb/a.mp3", "A")))) == {"copies": ["a.mp3"], "unseen": ["usb/a.mp3"]}


def test_dropping_what_is_missing_takes_unseen_tracks_too_and_forgets_the_disk():
    world = World(Made("a.mp3", "A"), unseen=[Remark("usb", NOT_MOUNTED)], mounts=["nas", "usb"])
    known = tracks(Made("a.mp3", "A"), Made("usb/b.mp3", "B"))

    spared, dropped = world.plan(known), world.plan(known, drop_missing=True)

    assert done(spared) == {"unchanged": ["a.mp3"], "unseen": ["usb/b.mp3"]}
    assert spared.mounts == ("nas", "usb")
    assert done(dropped) == {"unchanged": ["a.mp3"], "gone": ["usb/b.mp3"]}
    assert dropped.mounts == ("nas",)


def test_an_empty_library_of_which_the_index_has_tracks_is_refused_unless_told_that_they_are_deleted():
    known = tracks(Made("a.mp3", "A"), Made("b.mp3", "B"))

    with pytest.raises(StoreError, match=r"^/music: no audio files in it, while .* 2 tracks of it; .*--drop-missing"):
        World().plan(known)
    assert done(World().plan(known, drop_missing=True)) == {"gone": ["a.mp3", "b.mp3"]}


def test_an_empty_library_that_never_had_tracks_is_an_empty_plan():
    assert done(World().plan()) == {}


def test_the_plan_does_not_depend_on_the_order_in_which_tracks_are_given():
    world = World(*(Made(f"x/{name}.mp3", "A") for name in "abcd"), Made("y.mp3", "B"))
    known = tracks(*(Made(f"{name}.mp3", "A") for name in "efg"), Made("z.mp3", "B"))

    shuffled = random.Random(0).sample(known, len(known))

    assert world.plan(known, quarantine=[]) == world.plan(shuffled)


def test_every_file_and_every_track_is_in_exactly_one_place_whatever_happened():
    random_ = random.Random(0)
    for _ in range(200):
        paths = [f"{letter}.mp3" for letter in "abcdefgh"]
        known = tracks(
            *(
                Made(path, random_.choice("ABCD"), random_.randrange(3))
                for path in random_.sample(paths, random_.randrange(6))
            )
        )
        files = [
            Made(path, random_.choice("ABCDE"), random_.randrange(3), random_.randrange(2))
            for path in random_.sample(paths, 1 + random_.randrange(7))
        ]
        world = World(*files, unseen=[Remark(random_.choice(paths), "away")])

        plan = world.plan(known, quarantine=[random_.choice(files).file])

        embedded = [*plan.new, *plan.changed, *plan.copies]
        kept = [*plan.moved, *plan.retagged]
        left = {track.path for track in plan.unchanged} | {file.path for _, file in kept}
        assert sorted(
            [*left, *(planned.file.path for planned in embedded), *(file.path for file in plan.quarantined)]
        ) == sorted(one.path for one in files)
        replaced = [planned.replaces for planned in embedded if planned.replaces]
        fates = [*plan.unchanged, *(track for track, _ in kept), *plan.gone, *plan.unseen, *replaced]
        assert sorted(fates) == sorted(known)
        assert all(world.contents[file.path] == track.content for track, file in kept)
        assert len(world.hashed) == len(set(world.hashed))


def test_an_album_beside_100_000_tracks_is_planned_in_a_few_seconds():
    def library(count):
        return [Made(f"artist {n // 100}/{n}.mp3", f"{n}", 1_000_000 + n) for n in range(count)]

    known = tracks(*library(100_000))
    world = World(*library(100_000), *(Made(f"zz/{n}.mp3", f"new {n}", 7 + n) for n in range(12)))

    started = time.process_time()
    plan = world.plan(known)
    elapsed = time.process_time() - started

    assert (len(plan.unchanged), len(plan.new), world.hashed) == (100_000, 12, [])
    assert elapsed < 4  # of processor time; it takes about 0.2, and a whole sync but for embedding has 5
