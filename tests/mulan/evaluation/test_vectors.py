"""What is embedded, what is kept for the next time, and what is refused.

Run: pytest tests/mulan/evaluation/test_vectors.py.
"""

import os
import re

import numpy as np
import pytest

from data.errors import ManifestError, StoreError
from data.manifest import Track
from mulan.evaluation.vectors import VectorCache, embed_set


@pytest.fixture
def tracks(tmp_path, write_track):
    """Five toy tracks at 0, 10, 20, 30, 40 degrees, of 1 to 5 seconds."""
    return [
        Track(id=str(number), path=write_track(tmp_path / f"{number}.wav", *[10 * number] * (number + 1)))
        for number in range(5)
    ]


def test_rows_are_the_encoders_vectors_in_the_order_of_the_tracks(toy_encoder, tracks):
    found = embed_set(toy_encoder, tracks)
    assert found.vectors == pytest.approx(toy_encoder.encode_files([track.path for track in tracks]))
    assert [track.id for track in found.tracks] == ["0", "1", "2", "3", "4"]
    assert (found.windows, found.embedded, found.lengths.tolist()) == (15, 5, [1, 2, 3, 4, 5])


def test_a_second_run_embeds_only_what_is_new_or_has_changed_and_gives_the_same(
    toy_encoder, tracks, tmp_path, write_track
):
    first = embed_set(toy_encoder, tracks[:4], cache=tmp_path / "cache")
    os.utime(write_track(tracks[1].path, 70), ns=(1, 1))
    toy_encoder.embedded.clear()
    second = embed_set(toy_encoder, tracks, cache=tmp_path / "cache")
    assert toy_encoder.embedded == [tracks[1].path, tracks[4].path]
    assert second.embedded == 2
    assert (second.vectors[[0, 2, 3]] == first.vectors[[0, 2, 3]]).all()
    assert second.vectors[1] == pytest.approx([np.cos(np.deg2rad(70)), np.sin(np.deg2rad(70))], abs=1e-6)


def test_parts_of_one_file_are_kept_apart(toy_encoder, tmp_path, write_track):
    path = write_track(tmp_path / "long.wav", 0, 90)
    parts = [Track(id=str(start), path=path, start=float(start), end=start + 1.0) for start in range(2)]
    for _ in range(2):
        found = embed_set(toy_encoder, parts, cache=tmp_path / "cache")
        assert found.vectors == pytest.approx(np.eye(2), abs=1e-6)
    assert found.embedded == 0


def test_another_model_finds_nothing_of_the_first(toy_encoder, tracks, tmp_path):
    embed_set(toy_encoder, tracks, cache=tmp_path / "cache")
    other = type(toy_encoder)(fingerprint="toy-2")
    assert embed_set(other, tracks, cache=tmp_path / "cache").embedded == 5


def test_what_a_killed_run_had_embedded_is_kept(toy_encoder, tracks, tmp_path):
    class Killed(BaseException):
        pass

    def embed_two(chosen):
        yield from list(type(toy_encoder).embed_tracks(toy_encoder, chosen))[:2]
        raise Killed

    toy_encoder.embed_tracks = embed_two
    with pytest.raises(Killed):
        embed_set(toy_encoder, tracks, cache=tmp_path / "cache")
    assert embed_set(type(toy_encoder)(), tracks, cache=tmp_path / "cache").embedded == 3


def test_bad_files_are_counted_with_their_reason_and_tried_again(toy_encoder, tracks, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_text("no music")
    for _ in range(2):
        found = embed_set(
            toy_encoder, [Track(id="bad", path=bad), *tracks], cache=tmp_path / "cache", allow_missing=True
        )
        ((path, reason),) = found.failed
        assert path == str(bad)
        assert reason.startswith("not a wav file")
        assert len(found.vectors) == 5
    with pytest.raises(ManifestError, match=r"none of 1 files could be embedded; the first: .*bad\.wav: not a wav"):
        embed_set(toy_encoder, [Track(id="bad", path=bad)])


def test_more_than_one_in_a_hundred_unreadable_is_refused_unless_allowed(toy_encoder, tracks, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(bytes(1000))
    message = r"^1 of 6 files cannot be used, 0 more are missing; the first: .*bad\.wav: not a wav .* --allow-missing$"
    with pytest.raises(ManifestError, match=message):
        embed_set(toy_encoder, [*tracks, Track(id="bad", path=bad)])


def test_tracks_under_half_of_the_median_length_are_named(toy_encoder, tracks):
    assert embed_set(toy_encoder, tracks).short == ("0",)  # of 1 to 5 s


def test_two_evaluations_at_once_neither_wait_for_nor_disturb_each_other(toy_encoder, tracks, tmp_path):
    def embed_with_another_between(chosen):
        for found in type(toy_encoder).embed_tracks(toy_encoder, chosen):
            embed_set(type(toy_encoder)(), tracks, cache=tmp_path / "cache")  # writes the very same rows
            yield found

    expected = embed_set(toy_encoder, tracks).vectors
    toy_encoder.embed_tracks = embed_with_another_between
    assert (embed_set(toy_encoder, tracks, cache=tmp_path / "cache").vectors == expected).all()


def test_a_row_that_another_process_has_replaced_meanwhile_is_embedded_again(
    toy_encoder, tracks, tmp_path, write_track, monkeypatch
):
    embed_set(toy_encoder, tracks[1:], cache=tmp_path / "cache")
    expected = embed_set(toy_encoder, tracks).vectors

    def replace_then_embed(chosen):
        monkeypatch.undo()
        write_track(tracks[3].path, 30, 30, 30, 30, 30)  # longer, so that the key is another
        embed_set(type(toy_encoder)(), tracks, cache=tmp_path / "cache")
        yield from type(toy_encoder).embed_tracks(toy_encoder, chosen)

    monkeypatch.setattr(toy_encoder, "embed_tracks", replace_then_embed)
    assert embed_set(toy_encoder, tracks, cache=tmp_path / "cache").vectors == pytest.approx(expected)


def test_more_than_one_in_a_hundred_missing_is_refused_unless_allowed(toy_encoder, tmp_path, write_track):
    path = write_track(tmp_path / "0.wav", 10)
    there = [Track(id=str(number), path=path) for number in range(198)]
    gone = [Track(id=f"gone{number}", path=tmp_path / "gone.wav") for number in range(3)]
    assert embed_set(toy_encoder, there + gone[:2]).missing == ("gone0", "gone1")
    message = r"^3 of 201 files are missing, the first is .*gone\.wav; at most 1% may be, as .* --allow-missing$"
    with pytest.raises(ManifestError, match=message):
        embed_set(toy_encoder, there + gone)
    assert len(embed_set(toy_encoder, there + gone, allow_missing=True).missing) == 3


def test_nothing_to_judge_by_is_said(toy_encoder, tmp_path):
    with pytest.raises(ManifestError, match="there are no tracks to judge by"):
        embed_set(toy_encoder, [])
    with pytest.raises(ManifestError, match="check the folder of the audio"):
        embed_set(toy_encoder, [Track(id="gone", path=tmp_path / "gone.wav")], allow_missing=True)


def test_a_file_that_is_no_cache_is_refused_with_the_remedy(toy_encoder, tmp_path):
    path = tmp_path / "1-toy-1-float32.sqlite"
    path.write_text("something else, long enough to be looked at " * 20)
    with pytest.raises(StoreError, match=rf"^{re.escape(str(path))}: cannot be used as a cache .*; delete it$"):
        VectorCache(tmp_path, toy_encoder)
