"""data/loader.py: batches are exact, resumable, honest about broken files. Alone: pytest tests/data/test_loader.py"""

import multiprocessing

import numpy as np
import pytest
import torch

from data.augment import AudioAugmentation, Noise
from data.errors import AudioError, ManifestError
from data.loader import CaptionedClips, Clips, batches, centred_batches
from data.texts import TextAugmentation

RATE = 1000
BATCH = 4


def clips_of(tracks):
    audio = AudioAugmentation(gain_db=6, noise=Noise())
    return CaptionedClips(tracks, text=TextAugmentation(), audio=audio, sample_rate=RATE, clip_seconds=0.5, seed=1)


def steps_of(tracks, *, first_step=0, steps=5, **options):
    return list(batches(clips_of(tracks), batch_size=BATCH, first_step=first_step, steps=steps, **options))


def assert_same(ours, theirs):
    assert [step for step, _ in ours] == [step for step, _ in theirs]
    for (_, one), (_, other) in zip(ours, theirs, strict=True):
        assert torch.equal(one.waveforms, other.waveforms)
        assert vars(one) | {"waveforms": None} == vars(other) | {"waveforms": None}


@pytest.fixture
def tracks(tmp_path, write_corpus):
    """Ten tracks: an epoch is two batches of four."""
    return write_corpus(tmp_path, 10)


@pytest.fixture
def damaged_tracks(tracks, cut_in_half):
    """Two of the ten cannot be read: a flac that is cut off within its header, and a text called mp3."""
    tracks[3].path.write_bytes(tracks[3].path.read_bytes()[:100])
    text = tracks[7].path.with_suffix(".mp3")
    text.write_text("not music\n" * 100)
    tracks[7] = type(tracks[7])(**{**vars(tracks[7]), "path": text})
    return tracks


def test_batches_are_those_of_the_order_of_each_epoch(tracks):
    clips = clips_of(tracks)
    given = steps_of(tracks)
    assert [step for step, _ in given] == [0, 1, 2, 3, 4]
    for step, batch in given:
        first = (step % 2) * BATCH
        expected = [tracks[number].id for number in clips.order(step // 2)[first : first + BATCH]]
        assert [key.track_id for key in batch.keys] == expected
        assert [label.track_id for label in batch.labels] == expected
        assert batch.waveforms.shape == (BATCH, 500)
        assert batch.waveforms.dtype == torch.float32
        assert batch.skipped == ()


def test_batches_are_the_same_for_any_number_of_workers(damaged_tracks):
    alone = steps_of(damaged_tracks)
    for workers in (1, 2):
        assert_same(steps_of(damaged_tracks, workers=workers), alone)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_rows_of_all_processes_are_those_of_one(damaged_tracks, world):
    alone = steps_of(damaged_tracks)
    shares = [steps_of(damaged_tracks, rank=rank, world=world) for rank in range(world)]
    for number, (_, whole) in enumerate(alone):
        parts = [share[number][1] for share in shares]
        assert torch.equal(torch.cat([part.waveforms for part in parts]), whole.waveforms)
        for field in ("keys", "labels", "texts", "skipped"):
            assert sum((getattr(part, field) for part in parts), ()) == getattr(whole, field)


@pytest.mark.parametrize("first_step", [1, 2, 3])
def test_a_resumed_run_sees_what_the_interrupted_one_would_have_seen(damaged_tracks, first_step):
    whole = steps_of(damaged_tracks)
    assert_same(steps_of(damaged_tracks, first_step=first_step, workers=1), whole[first_step:])
    assert steps_of(damaged_tracks, first_step=5) == []


def test_a_broken_file_is_replaced_by_a_later_track_and_listed_each_time(damaged_tracks):
    clips = clips_of(damaged_tracks)
    broken = {3, 7}
    for step, batch in steps_of(damaged_tracks, steps=20):
        order = [int(number) for number in clips.order(step // 2)]
        first = (step % 2) * BATCH
        skipped = []
        for row, key in enumerate(batch.keys):
            place = first + row
            tried = [order[place], *(order[(place + BATCH + more) % 10] for more in range(3))]
            skipped += [number for number in tried[: tried.index(int(key.track_id))] if number in broken]
            assert int(key.track_id) not in broken
            assert batch.waveforms[row].abs().max() > 0.1
        assert [one.path for one in batch.skipped] == [str(damaged_tracks[number].path) for number in skipped]
        assert all(one.reason.startswith("found no audio that can be decoded") for one in batch.skipped)


def test_nothing_but_broken_files_is_one_error(tracks):
    for track in tracks:
        track.path.write_text("not music")
    for workers in (0, 1):
        with pytest.raises(AudioError, match=r"flac: found no audio .*; nor could any other") as caught:
            steps_of(tracks, workers=workers)
        assert "\n" not in str(caught.value)


def test_a_corpus_of_one_batch_replaces_what_is_broken_from_itself(damaged_tracks):
    few = damaged_tracks[:BATCH]
    for _, batch in steps_of(few):
        assert {key.track_id for key in batch.keys} == {"0", "1", "2"}
        assert len(batch.skipped) == 1


def test_workers_live_through_epochs_and_no_longer(tracks):
    running = batches(clips_of(tracks), batch_size=BATCH, first_step=0, steps=9, workers=2)
    seen = set()
    for _ in range(5):
        next(running)
        seen |= {process.pid for process in multiprocessing.active_children()}
    assert len(seen) == 2
    running.close()
    assert not multiprocessing.active_children()


def test_no_global_random_state_is_touched(tracks):
    torch.manual_seed(0)
    before, legacy = torch.get_rng_state(), np.random.get_state()[1].tolist()
    steps_of(tracks)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == legacy


def test_clips_without_captions_need_neither_texts_nor_tags(tracks):
    bare = [type(track)(id=track.id, path=track.path) for track in tracks]
    clips = Clips(bare, sample_rate=RATE, clip_seconds=0.5, seed=1, grid_seconds=1 / 25)
    [(_, batch)] = batches(clips, batch_size=10, first_step=0, steps=1)
    assert batch.texts == ("",) * 10
    assert batch.blanked is None
    assert batch.waveforms.shape == (10, 500)


def test_impossible_batches_are_refused(tracks):
    with pytest.raises(ManifestError, match=r"found 10 tracks; batch_size is 11"):
        next(batches(clips_of(tracks), batch_size=11, first_step=0, steps=1))
    with pytest.raises(ValueError, match=r"batch_size is 4; must be a multiple of the number of processes, 3"):
        next(batches(clips_of(tracks), batch_size=4, first_step=0, steps=1, world=3))


def test_validation_sees_every_track_once_in_its_middle(damaged_tracks):
    for workers in (0, 1):
        given = list(centred_batches(clips_of(damaged_tracks), batch_size=BATCH, workers=workers))
        assert [key.track_id for batch in given for key in batch.keys] == ["0", "1", "2", "4", "5", "6", "8", "9"]
        assert [len(batch.waveforms) for batch in given] == [3, 3, 2]
        assert [len(batch.skipped) for batch in given] == [1, 1, 0]
        assert {key.start for batch in given for key in batch.keys} == {0.25}


def test_a_validation_batch_may_be_empty(damaged_tracks):
    [batch] = centred_batches(clips_of(damaged_tracks[3:4]), batch_size=BATCH)
    assert batch.waveforms.shape == (0, 500)
    assert len(batch.skipped) == 1
