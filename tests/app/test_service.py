"""Search and tagging without a page. Run: pytest tests/app/test_service.py."""

import os
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from app import demo
from app.service import DEFAULT_TAGS, SearchService, clock, is_non_commercial, split_tags, tag_file
from data.errors import AudioError, QueryError, StoreError
from data.facts import TAGS
from indexing import Index, sync_library
from indexing.migrate import migrate_index


def test_words_find_the_track_and_the_moment(service):
    best = service.search("a high tone", k=2)[0]
    assert (best.title, best.start, best.end) == ("then-high", 10.0, 20.0)


def test_plain_words_are_one_text_whatever_signs_stand_in_them(service):
    for words in ("a high tone", "Low - High", "rock 'n' roll & low, 24/7"):
        by_hand = service.index.search(service.encoder.encode_text([words])[0], k=5)
        found = service.search(words, k=5)
        assert [hit.track for hit in found] == [hit.track for hit in by_hand]
        # the vector is normalised once more
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in by_hand], abs=1e-6)


def test_a_query_takes_away_and_filters(service):
    assert service.search('"middle" + "high" - 0.5*"low"', k=1)[0].title == "middle-and-high"
    assert [hit.title for hit in service.search("low where duration > 20", k=5)] == ["then-high"]
    assert service.search("low where year = 1990", k=5) == []


@pytest.mark.parametrize("scoring", ["max", "mean", "top3"])
def test_shares_of_terms_sum_to_the_score(service, scoring):
    hits = service.search('2*"high" - "low" + track:1', k=5, scoring=scoring, explain=True)
    for hit in hits:
        assert [share.term for share in hit.shares] == ['2*"high"', '- "low"', "track:1"]
        assert sum(share.share for share in hit.shares) == pytest.approx(hit.score, abs=1e-6)  # float32 scores
    assert service.search("high", k=1, scoring=scoring)[0].shares == ()


def test_what_is_wrong_with_a_query_is_pointed_at(service):
    with pytest.raises(QueryError, match=r"^column 8: track 77 is not in this index$") as raised:
        service.search("high + track:77", k=1)
    assert raised.value.caret == "high + track:77\n       ^"


def test_files_of_this_machine_are_read_only_where_that_is_allowed(service, library):
    query = f"file:{library / 'middle-and-high.aiff'}"
    assert service.search(query, k=1, may_read_files=True)[0].title == "middle-and-high"
    with pytest.raises(QueryError, match="reads the server's disk"):
        service.search(query, k=1)


def test_similar_tracks_are_those_nearest_to_the_whole_of_a_track(service):
    (low,) = [track for track in service.index.tracks if track.title == "low"]
    hits = service.similar(low.id, k=2)
    assert [hit.rank for hit in hits] == [1, 2]
    assert low.id not in {hit.track for hit in hits}
    assert len(service.similar(low.id, k=9)) == 4
    with pytest.raises(KeyError):
        service.similar(99, k=1)


def test_a_track_has_the_tags_of_its_file(service, library):
    (middle,) = [track for track in service.index.tracks if track.title == "middle"]
    by_file, by_track = service.tag_file(library / "middle.flac"), service.tag_track(middle.id)
    assert [score.score for score in by_track] == pytest.approx([score.score for score in by_file], abs=1e-6)


def test_tracks_are_listed_by_a_condition_whose_columns_are_its_own(service):
    assert [track.title for track in service.tracks_where("duration = 12")] == ["low", "middle"]
    assert service.tracks_where(" ") == list(service.index.tracks)
    for wrong, column in (("duration = long", 12), ("moon = 3", 1), ("low", 4), ('year = 3" + "x', 9)):
        with pytest.raises(QueryError) as raised:
            service.tracks_where(wrong)
        assert raised.value.column == column
        assert str(raised.value).startswith(f"column {column}: ")


def test_a_sync_is_noticed_at_the_next_search(service, library, tmp_path):
    folder = shutil.copytree(library, tmp_path / "music")
    sync_library(service.encoder, folder, tmp_path / "index")
    own = SearchService(service.encoder, Index.open(tmp_path / "index"))
    tracks, loaded = own.index.tracks, own.loaded.at
    assert len(tracks) == 5
    (folder / "low.wav").rename(folder / "renamed.wav")
    (folder / "middle.flac").unlink()
    sync_library(service.encoder, folder, tmp_path / "index")
    os.utime(tmp_path / "index" / "catalogue.sqlite", (1e9, 1e9))  # as if it were long ago

    assert [hit.title for hit in own.search("low where duration = 12", k=9)] == ["renamed"]
    assert [track.title for track in own.tracks_where("duration = 12")] == ["renamed"]
    assert len(own.index.tracks) == 4
    assert own.loaded.at > loaded


def test_a_migrated_index_is_answered_by_its_own_model_once_that_is_loaded(service, library, tmp_path):
    class Backwards(type(service.encoder)):
        """The tone encoder with its axes in reverse: its vectors, asked by the other's, would answer nonsense."""

        name, fingerprint = "backwards", "backwards-1"

        def encode_text(self, texts):
            return super().encode_text(texts)[:, ::-1].copy()

        def encode_windows(self, waveform, sample_rate):
            vectors, spans = super().encode_windows(waveform, sample_rate)
            return vectors[:, ::-1].copy(), spans

    may_load = threading.Event()

    def load(name):
        assert (name, may_load.wait(20)) == ("backwards", True)
        return Backwards()

    sync_library(service.encoder, library, tmp_path / "index")
    own = SearchService(service.encoder, Index.open(tmp_path / "index"), load=load)
    migrate_index(Backwards(), tmp_path / "index")
    os.utime(tmp_path / "index" / "catalogue.sqlite", (1e9, 1e9))  # as if it were long ago
    (low,) = [track.id for track in own.index.tracks if track.title == "low"]

    def answers():
        searched = own.search("high", k=1), own.search_file(library / "middle-and-high.aiff", k=1)
        titles = [hits[0].title for hits in searched]
        return own.encoder.name, *titles, own.tag_track(low, ["high", "low"])[0].tag

    assert answers() == ("tone-encoder", "then-high", "middle-and-high", "low")
    may_load.set()
    deadline = time.monotonic() + 20
    while own.encoder.name != "backwards" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert answers() == ("backwards", "then-high", "middle-and-high", "low")


def test_a_file_finds_itself_first(service, library):
    hits = service.search_file(library / "middle-and-high.aiff", k=3)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].title == "middle-and-high"
    assert hits[0].score == pytest.approx(1.0, abs=1e-6)  # one window, so the same vector


def test_a_file_that_is_no_audio_is_refused_in_one_line_without_its_folder(service, tmp_path):
    text = tmp_path / "words.mp3"
    text.write_text("these are only words")
    with pytest.raises(AudioError, match=r"^words\.mp3: ") as raised:
        service.search_file(text, k=3)
    assert "\n" not in str(raised.value)
    assert str(tmp_path) not in str(raised.value)


def test_tags_are_cosines_best_first_where_the_encoder_has_no_temperature(service, library):
    scores = service.tag_file(library / "middle.flac", ["low", "middle"])
    assert [score.tag for score in scores] == ["middle", "low"]
    assert scores[0].score == scores[0].share > 0.99


def test_shares_are_a_softmax_at_the_encoders_temperature():
    words = {"half": [0.5, np.sqrt(0.75)], "none": [0.0, 1.0]}
    encoder = SimpleNamespace(
        logit_scale=4.0,
        encode_text=lambda texts: np.array([words[text] for text in texts], np.float32),
        encode_files=lambda paths: np.array([[1.0, 0.0]], np.float32),
    )
    half, none = tag_file(encoder, Path("any.wav"), ["none", "half"])
    assert (half.tag, none.tag) == ("half", "none")
    assert half.score == pytest.approx(0.5)
    assert half.share == pytest.approx(np.exp(2) / (np.exp(2) + 1))  # e^(4 * 0.5) against e^0
    assert half.share + none.share == pytest.approx(1.0)


def test_an_empty_tag_list_is_a_callers_mistake(service, library):
    with pytest.raises(ValueError, match="need at least one"):
        service.tag_file(library / "low.wav", [])


def test_an_index_of_another_model_is_refused(service):
    stranger = SimpleNamespace(name="stranger", fingerprint="0" * 64)
    with pytest.raises(StoreError, match="stranger"):
        SearchService(stranger, service.index)


def test_a_track_is_known_by_its_id_as_number_or_text_only(service):
    known = service.index.tracks[0]
    assert service.track(known.id) == service.track(str(known.id)) == known
    assert service.track("../low.wav") is None


def test_windows_are_counted(service):
    # low 12 s: 2, middle 12 s: 2, then-high 30 s: 3, hostile 5 s: 1, aiff 10 s: 1; at 10 s each
    assert service.windows == 9


def test_tag_lists_are_split_at_commas_semicolons_and_lines():
    assert split_tags(" solo  piano, rain;\n\nrain\n,night ") == ["solo piano", "rain", "night"]


def test_default_tags_are_words_the_shipped_model_was_taught_and_do_not_repeat():
    assert set(DEFAULT_TAGS) <= set(TAGS)
    assert len(set(DEFAULT_TAGS)) == len(DEFAULT_TAGS) > 15


@pytest.mark.parametrize(
    ("seconds", "written"), [(0.0, "0:00"), (9.99, "0:09"), (69.5, "1:09"), (3599.9, "59:59"), (3723, "1:02:03")]
)
def test_positions_are_written_as_players_do_and_cut_off(seconds, written):
    assert clock(seconds) == written


@pytest.mark.parametrize(
    ("licence", "forbids"),
    [("CC-BY-NC-4.0", True), ("cc-by-nc-sa-4.0", True), ("Apache-2.0", False), ("CC-BY-4.0", False), ("NCSA", False)],
)
def test_licences_that_forbid_commercial_use_are_known(licence, forbids):
    assert is_non_commercial(licence) == forbids


@pytest.fixture
def demo_library(tmp_path, monkeypatch, write_track):
    """A toy library of two tracks in place of the demo library."""
    folder = tmp_path / "checkout" / "demo"
    write_track(folder / "a.wav", 10)
    write_track(folder / "b.wav", 20)
    monkeypatch.setattr(demo, "DEMO_LIBRARY", folder)
    return folder


def test_the_demo_index_is_built_once_and_again_when_a_clip_changes(toy_encoder, demo_library, write_track):
    assert [track.title for track in demo.open_demo(toy_encoder).tracks] == ["a", "b"]
    toy_encoder.embedded.clear()
    demo.open_demo(toy_encoder)
    assert toy_encoder.embedded == []
    write_track(demo_library / "b.wav", 20, 30)
    assert [track.seconds for track in demo.open_demo(toy_encoder).tracks] == [1.0, 2.0]


def test_two_checkouts_have_their_own_demo_index(toy_encoder, demo_library, tmp_path, monkeypatch):
    first = demo.open_demo(toy_encoder)
    monkeypatch.setattr(demo, "DEMO_LIBRARY", demo_library.rename(tmp_path / "moved"))
    second = demo.open_demo(toy_encoder)
    assert first.path != second.path
    assert [track.path for track in second.tracks] == [tmp_path / "moved" / "a.wav", tmp_path / "moved" / "b.wav"]


def test_a_demo_index_that_is_current_opens_while_another_process_holds_the_writers_lock(toy_encoder, demo_library):
    index = demo.open_demo(toy_encoder)

    def open_meanwhile(progress):
        assert len(demo.open_demo(toy_encoder).tracks) == 2

    sync_library(toy_encoder, demo_library, index.path, on_progress=open_meanwhile)
