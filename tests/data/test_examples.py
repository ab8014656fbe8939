"""data/examples.py: clips are seeded, on their grid, inside their track. Alone: pytest tests/data/test_examples.py"""

import dataclasses

import numpy as np
import pytest
import soundfile

from data.augment import AudioAugmentation, Mixing, SpecAugment
from data.errors import AudioError, ManifestError
from data.examples import CaptionedClips, Clips, seeded_generator
from data.manifest import Track
from data.shards import ShardCache
from data.texts import TextAugmentation

RATE = 1000


def clips_of(tracks, *, seed=1, clip_seconds=1.0, **options):
    return Clips(tracks, sample_rate=RATE, clip_seconds=clip_seconds, seed=seed, **options)


def captioned_clips_of(tracks, *, seed=1, **options):
    augmentation = {"text": TextAugmentation(), "audio": AudioAugmentation()} | options
    return CaptionedClips(tracks, sample_rate=RATE, clip_seconds=1.0, seed=seed, **augmentation)


@pytest.fixture
def ramp(tmp_path):
    """ramp(seconds, **fields): a track whose samples, times 100, are its seconds."""

    def make(seconds, **fields):
        path = tmp_path / f"ramp-{seconds}.wav"
        soundfile.write(path, np.arange(round(seconds * RATE)) / RATE / 100, RATE, subtype="FLOAT")
        return Track(id=path.name, path=path, **fields)

    return make


def seconds_in(waveform):
    return waveform[[0, -1]] * 100


def test_a_clip_and_its_text_depend_on_seed_epoch_and_track_alone(tmp_path, write_corpus):
    tracks = write_corpus(tmp_path, 3, seconds=8.0)
    forward = [captioned_clips_of(tracks).read(number, epoch=0) for number in (0, 1, 2)]
    backward = [captioned_clips_of(tracks[::-1]).read(number, epoch=0) for number in (2, 1, 0)]
    for one, other in zip(forward, backward, strict=True):
        assert np.array_equal(one.waveform, other.waveform)
        assert (one.text, one.key, one.labels) == (other.text, other.key, other.labels)
    assert captioned_clips_of(tracks).read(0, epoch=1).key != forward[0].key
    assert captioned_clips_of(tracks, seed=2).read(0, epoch=0).key != forward[0].key
    assert clips_of(tracks).read(0, epoch=0).key == forward[0].key


def test_an_epoch_is_a_permutation_that_changes_with_the_epoch(tmp_path, write_corpus):
    clips = clips_of([Track(id=str(i), path=tmp_path) for i in range(50)])
    assert sorted(clips.order(0)) == list(range(50))
    assert np.array_equal(clips.order(0), clips.order(0))
    assert not np.array_equal(clips.order(0), clips.order(1))


def test_kin_follow_each_other_in_groups_that_share_a_tag(tmp_path):
    tags = ("cello", "flute", "tuba")
    tracks = [Track(id=str(i), path=tmp_path, tags=(tags[i % 3],)) for i in range(24)]
    order = captioned_clips_of(tracks, kin=4).order(0)
    assert sorted(order) == list(range(24))
    groups = order.reshape(6, 4) % 3
    assert (groups == groups[:, :1]).all()
    assert not np.array_equal(order, captioned_clips_of(tracks, kin=4).order(1))
    chance = captioned_clips_of(tracks).order(0).reshape(6, 4) % 3
    assert not (chance == chance[:, :1]).all()


def test_a_rare_tag_makes_kin_rather_than_a_common_one(tmp_path):
    """Of 60 tracks all have drums and six each one of ten instruments, which is drawn 10 times out of 11."""
    tracks = [Track(id=str(i), path=tmp_path, tags=("drums", f"instrument {i % 10}")) for i in range(60)]
    order = captioned_clips_of(tracks, kin=6).order(0) % 10
    assert (order[1:] == order[:-1]).mean() > 0.5  # by chance 0.1


def test_tracks_without_tags_are_nobodys_kin(tmp_path):
    """Else a batch has eight of them in a row, or none."""
    cellos = [Track(id=f"cello {i}", path=tmp_path, tags=("cello",)) for i in range(24)]
    mute = [Track(id=f"mute {i}", path=tmp_path) for i in range(24)]
    order = captioned_clips_of([*cellos, *mute], kin=8, mute=AudioAugmentation()).order(0)
    assert sorted(order) == list(range(48))
    are_cellos = "".join("c" if number < 24 else "m" for number in order)
    assert are_cellos.count("c" * 8) == 3
    assert "m" * 24 not in are_cellos


def test_clips_of_tracks_without_words_have_no_text_and_an_augmentation_of_their_own(ramp):
    told, mute, other = (ramp(seconds) for seconds in (2.0, 3.0, 4.0))
    tracks = [dataclasses.replace(told, tags=("rising",)), mute, other]
    loud = AudioAugmentation(mixing=Mixing(share=1, snr_db=(0, 0)))
    clips = captioned_clips_of(tracks, mute=loud)
    first, second = clips.read(0, epoch=0), clips.read(1, epoch=0)
    assert (first.text, first.labels.claims) == ("rising", ("rising",))
    assert np.array_equal(first.waveform, clips_of(tracks).read(0, epoch=0).waveform)
    assert (second.text, second.labels.claims) == ("", ())
    plain = clips_of(tracks).read(1, epoch=0).waveform
    mixed_in = second.waveform - plain
    assert np.sqrt(np.mean(mixed_in**2)) == pytest.approx(np.sqrt(np.mean(plain**2)), rel=1e-3)
    steps = np.diff(mixed_in) / np.diff(mixed_in).mean()
    assert steps == pytest.approx(np.ones(len(steps)), abs=0.02)  # the other ramp, louder or softer
    alone = captioned_clips_of(tracks[:2], mute=loud).read(1, epoch=0).waveform
    assert alone == pytest.approx(2 * plain, rel=0.5)  # there is only itself to mix in, from some other place


def test_the_key_of_a_clip_says_where_in_the_track_it_starts(ramp):
    example = clips_of([ramp(9.0)]).read(0, epoch=0)
    assert seconds_in(example.waveform) == pytest.approx(example.key.start + np.array([0, 0.999]), abs=2e-3)


def test_clips_on_a_grid_start_at_its_multiples_and_reach_both_ends(ramp):
    clips = clips_of([ramp(1.2)], grid_seconds=1 / 25)
    places = [clips.read(0, epoch=epoch).key.start * 25 for epoch in range(60)]
    assert all(place == pytest.approx(round(place), abs=1e-9) for place in places)
    assert {round(place) for place in places} == {0, 1, 2, 3, 4, 5}
    assert clips.read_centre(0).key.start == pytest.approx(2 / 25)


def test_clips_stay_between_start_and_end(ramp):
    clips = clips_of([ramp(20.0, start=5.0, end=7.0)])
    found = np.array([seconds_in(clips.read(0, epoch=epoch).waveform) for epoch in range(40)])
    assert found.min() >= 5.0 - 2e-3  # a sample is 1e-3
    assert found.min() < 5.2
    assert 6.8 < found.max() <= 7.0
    centre = clips.read_centre(0)
    assert centre.key.start == 0.5
    assert seconds_in(centre.waveform) == pytest.approx([5.5, 6.499], abs=2e-3)


def test_a_track_that_only_states_its_start_goes_to_the_end_of_its_file(ramp):
    clips = clips_of([ramp(3.0, start=1.8)])
    found = np.array([seconds_in(clips.read(0, epoch=epoch).waveform) for epoch in range(20)])
    assert found.min() >= 1.8 - 2e-3
    assert found.max() <= 3.0


def test_short_tracks_are_tiled_and_not_beyond_their_end(ramp):
    waveform = clips_of([ramp(5.0, start=1.0, end=1.6)]).read(0, epoch=0).waveform
    assert waveform.shape == (RATE,)
    assert np.array_equal(waveform[600:], waveform[:400])


def test_a_file_that_ends_before_its_clip_is_an_error_not_a_repetition(ramp):
    with pytest.raises(AudioError, match=r"ramp-2\.0\.wav: found 0\.5 s at 1\.5 s, where 1\.0 s should be"):
        clips_of([dataclasses.replace(ramp(2.0), start=1.5, end=2.5)]).read(0, epoch=0)
    with pytest.raises(AudioError, match=r"found 2\.0 s; the track starts at 3 s"):
        clips_of([ramp(2.0, start=3.0)]).read(0, epoch=0)


def test_a_file_that_was_cut_gives_the_music_that_is_left_or_an_error(tmp_path, sine, cut_in_half):
    path = tmp_path / "a.flac"
    soundfile.write(path, sine(8.0), 44_100)
    cut_in_half(path)
    outcomes = []
    for epoch in range(20):
        try:
            waveform = clips_of([Track(id="a", path=path, seconds=8.0)]).read(0, epoch=epoch).waveform
            outcomes.append(float(np.abs(waveform[-150:-50]).max()))
        except AudioError as error:
            outcomes.append(str(error).removeprefix(f"{path}: found "))
    assert all(peak == pytest.approx(0.5, abs=0.05) for peak in outcomes if isinstance(peak, float))
    assert {type(outcome) for outcome in outcomes} == {float, str}


def test_a_file_that_does_not_say_how_long_it_is_is_measured(tmp_path, encode, sine):
    path = encode(tmp_path / "a.aac", "aac", sine(3.0)[None], rate=44_100, container="adts")
    starts = [clips_of([Track(id="a", path=path)]).read(0, epoch=epoch).key.start for epoch in range(20)]
    assert 1.5 < max(starts) < 2.1


def test_what_is_mixed_in_is_seeded_and_a_broken_one_is_reported(tmp_path, write_corpus):
    tracks = write_corpus(tmp_path, 3, seconds=4.0)
    plain = captioned_clips_of(tracks).read(0, epoch=0)
    mixing = AudioAugmentation(mixing=Mixing(share=1.0))
    mixed = captioned_clips_of(tracks, audio=mixing).read(0, epoch=0)
    assert not np.array_equal(mixed.waveform, plain.waveform)
    assert (mixed.text, mixed.key) == (plain.text, plain.key)
    tracks[1].path.write_text("not music")
    clips = captioned_clips_of(tracks, audio=mixing)
    reported = [one for epoch in range(20) for one in clips.read(0, epoch=epoch).skipped]
    assert 1 <= len(reported) < 20
    assert set(reported) == {(str(tracks[1].path), reported[0].reason)}


def test_spec_augment_draws_a_mask_of_the_shape_of_the_mel(tmp_path, write_corpus):
    tracks = write_corpus(tmp_path, 2)
    audio = AudioAugmentation(spec_augment=SpecAugment(time_masks=1, max_frames=9, band_masks=1, max_bands=9))
    blanked = captioned_clips_of(tracks, audio=audio, mel_shape=(32, 50)).read(0, epoch=0).blanked
    assert blanked.shape == (32, 50)
    assert 0 < blanked.sum() < 32 * 50 / 2
    with pytest.raises(ValueError, match=r"spec_augment needs mel_shape"):
        captioned_clips_of(tracks, audio=audio)


def test_a_centred_clip_has_the_first_caption_or_all_tags(tmp_path, write_corpus):
    with_caption, without = write_corpus(tmp_path, 2, seconds=3.0)
    clips = captioned_clips_of([with_caption, dataclasses.replace(without, captions=())])
    first, second = clips.read_centre(0), clips.read_centre(1)
    assert (first.text, first.key.start) == ("music 0", 1.0)
    assert (second.text, second.labels.claims) == ("piano, slow", ("piano", "slow"))


def test_unusable_lists_of_tracks_are_refused(tmp_path):
    track = Track(id="a", path=tmp_path / "a.wav")
    with pytest.raises(ManifestError, match=r"found no tracks"):
        clips_of([])
    with pytest.raises(ManifestError, match=r"two tracks have the same id"):
        clips_of([track, track])
    cache = ShardCache(tmp_path, fetch="cp {name} {file}", keep=1)
    with pytest.raises(ManifestError, match=r"two shards of different folders have the same file name"):
        clips_of([track, Track(id="b", path=tmp_path / "deep" / "a.wav")], cache=cache)
    with pytest.raises(ManifestError, match=r"1 tracks, such as 'a', have neither captions nor tags"):
        captioned_clips_of([track])


def test_generators_are_the_same_on_every_machine():
    assert seeded_generator(1, 2, "a").integers(1_000_000, size=3).tolist() == [204095, 769328, 157664]
