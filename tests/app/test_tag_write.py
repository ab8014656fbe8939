"""Words in the tags of files, and back again, without a change of audio: `pytest tests/app/test_tag_write.py`."""

import json
import os

import av
import numpy as np
import pytest
import soundfile

from app import tag_write
from app.tag_fields import Field
from app.tag_write import TagChange, plan_change, restore, write_changes
from data.audio_hash import hash_audio
from data.errors import MulanError
from data.file_tags import read_tags

mutagen = pytest.importorskip("mutagen")

RATE = 48_000
CODECS = {"opus": "libopus", "m4a": "aac", "wma": "wmav2", "wv": "wavpack"}  # the others are libsndfile's


@pytest.fixture
def song(tmp_path):
    """song("mp3"): one second of noise, without tags."""

    def make(suffix, name="a"):
        path = tmp_path / f"{name}.{suffix}"
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, RATE).astype(np.float32)
        if suffix not in CODECS:
            soundfile.write(path, noise, RATE)
            return path
        with av.open(str(path), "w") as made:
            stream = made.add_stream(CODECS[suffix], rate=RATE, layout="mono")
            formats = {frame_format.name for frame_format in stream.codec.audio_formats}
            stream.bit_rate = 128_000
            kind = "fltp" if "fltp" in formats else "flt"
            for start in range(0, RATE, 960):
                frame = av.AudioFrame.from_ndarray(noise[np.newaxis, start : start + 960], format=kind, layout="mono")
                frame.sample_rate, frame.pts = RATE, start
                made.mux(stream.encode(frame))
            made.mux(stream.encode(None))
        return path

    return make


@pytest.fixture
def backup(tmp_path):
    return tmp_path / "tags.jsonl"


def write(path, words, backup, field=Field.GENRE):
    (done,) = write_changes([plan_change(path, words, field=field)], backup=backup)
    return done


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "wav", "aiff", *CODECS])
@pytest.mark.parametrize("field", list(Field))
def test_words_are_written_and_taken_back_and_the_audio_stays(song, backup, suffix, field):
    path = song(suffix)
    audio = hash_audio(path)
    new = ("solo piano", "ruhig ♪") if field is Field.GENRE else ("solo piano, ruhig ♪",)

    change = plan_change(path, ["solo piano", "ruhig ♪"], field=field)
    assert change == TagChange(path=path, field=field, old=(), new=new)
    assert list(write_changes([change], backup=backup)) == [change]

    assert hash_audio(path) == audio
    assert plan_change(path, ["x"], field=field).old == new
    write(path, ["other"], backup, field)
    assert plan_change(path, ["x"], field=field).old == ("other",)

    assert [(done.old, done.new) for done in restore(backup)] == [(("other",), new), (new, ())]
    assert plan_change(path, ["x"], field=field).old == ()
    assert hash_audio(path) == audio
    assert {one.name for one in path.parent.iterdir()} == {path.name, backup.name}


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "wav", "aiff", "opus", "m4a", "wma"])
def test_what_is_written_is_what_the_index_reads(song, backup, suffix):
    path = song(suffix)
    write(path, ["ambient"], backup)
    assert read_tags(path).genre == "ambient"
    write(path, ["solo piano", "ruhig ♪"], backup)
    genres = read_tags(path).genre.split("; ")
    assert (sorted(genres) if suffix == "wma" else genres[::-1]) == ["ruhig ♪", "solo piano"]  # wma keeps no order


def test_what_is_written_into_a_wav_is_read_although_its_riff_info_says_another_genre(tmp_path, backup):
    path = tmp_path / "a.wav"
    with soundfile.SoundFile(path, "w", samplerate=RATE, channels=1) as sound:
        sound.genre = "Rock"  # before the audio
        sound.write(np.zeros(RATE))
    assert read_tags(path).genre == "Rock"
    write(path, ["jazz"], backup)
    assert read_tags(path).genre == "jazz"


def test_a_plan_changes_nothing_and_what_changes_nothing_is_not_written(song, backup):
    path = song("flac")
    before = path.read_bytes()
    change = plan_change(path, ["jazz"], field=Field.GENRE)
    assert path.read_bytes() == before
    list(write_changes([change], backup=backup))
    written = path.read_bytes(), path.stat().st_mtime_ns
    assert list(write_changes([plan_change(path, ["jazz"], field=Field.GENRE)], backup=backup)) == []
    assert (path.read_bytes(), path.stat().st_mtime_ns) == written
    assert len(backup.read_text().splitlines()) == 1


def test_the_other_tags_of_an_old_id3_stay_as_they_are_and_so_does_its_version(song, backup):
    id3 = pytest.importorskip("mutagen.id3")
    path = song("mp3")
    tags = id3.ID3()
    tags.add(id3.TPE1(encoding=1, text=["Anna", "Otto"]))
    tags.add(id3.TYER(encoding=0, text=["1987"]))
    tags.add(id3.COMM(encoding=0, lang="deu", desc="", text=["schön"]))
    tags.add(id3.COMM(encoding=0, lang="eng", desc="iTunNORM", text=["0000"]))
    tags.save(path, v2_version=3, v23_sep=None)

    done = write(path, ["calm"], backup, Field.COMMENT)

    assert (done.old, done.new) == (("schön",), ("calm",))
    found = id3.ID3(path, translate=False)
    assert found.version == (2, 3, 0)
    assert found["TPE1"].text == ["Anna", "Otto"]
    assert str(found["TYER"]) == "1987"
    assert (found["COMM::deu"].text, found["COMM:iTunNORM:eng"].text) == (["calm"], ["0000"])
    list(restore(backup))
    assert id3.ID3(path, translate=False)["COMM::deu"].text == ["schön"]


def test_a_link_stays_a_link_and_permissions_stay(song, backup, tmp_path):
    path = song("flac")
    path.chmod(0o640)
    link = tmp_path / "link.flac"
    link.symlink_to(path)
    write(link, ["jazz"], backup)
    assert link.is_symlink()
    assert read_tags(path).genre == "jazz"
    assert path.stat().st_mode & 0o777 == 0o640


def test_odd_names_are_in_the_backup_and_found_again(song, backup, tmp_path):
    path = song("flac").rename(tmp_path / os.fsdecode(b"caf\xe9\n.flac"))
    write(path, ["jazz"], backup)
    assert json.loads(backup.read_text())["path"] == str(path)
    assert [done.path for done in restore(backup)] == [path]


def test_a_field_that_was_changed_since_is_not_put_back(song, backup):
    path = song("flac")
    write(path, ["jazz"], backup)
    write(path, ["blues"], backup.with_name("other.jsonl"))
    (refused,) = restore(backup)
    assert str(refused) == f"{path}: genre was changed since, to ['blues']; left as it is"
    assert read_tags(path).genre == "blues"


def test_a_file_that_was_changed_between_plan_and_writing_is_left_alone(song, backup):
    path = song("flac")
    change = plan_change(path, ["jazz"], field=Field.GENRE)
    write(path, ["blues"], backup.with_name("other.jsonl"))
    (refused,) = write_changes([change], backup=backup)
    assert "was changed meanwhile" in str(refused)
    assert not backup.exists()


def test_a_file_whose_audio_would_change_is_left_alone_and_the_next_is_written(song, backup, monkeypatch):
    paths = [song("flac", name="a"), song("flac", name="b")]
    before = paths[0].read_bytes()
    hashes = iter(["1", "2", "3", "3"])
    monkeypatch.setattr(tag_write, "hash_audio", lambda path: next(hashes))
    changes = [plan_change(path, ["jazz"], field=Field.GENRE) for path in paths]
    refused, done = write_changes(changes, backup=backup)
    assert "would change its audio" in str(refused)
    assert (done.path, paths[0].read_bytes()) == (paths[1], before)


@pytest.mark.parametrize("suffix", ["au", "caf"])
def test_a_format_without_tags_that_can_be_written_is_refused(song, suffix):
    with pytest.raises(MulanError, match=rf"a\.{suffix}: found a format whose tags cannot be written"):
        plan_change(song(suffix), ["jazz"], field=Field.GENRE)


def test_what_is_no_audio_or_no_backup_is_refused_in_one_line(tmp_path, backup):
    for name, content in (("a.mp3", b"only words"), ("a.flac", b"fLaC"), ("a.m4a", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MulanError, match=rf"a\.{name[2:]}: ") as raised:
            plan_change(tmp_path / name, ["jazz"], field=Field.GENRE)
        assert "\n" not in str(raised.value)
    with pytest.raises(MulanError, match=r"tags\.jsonl: cannot be read"):
        list(restore(backup))
    backup.write_text('{"path": "a.flac"}\n')
    with pytest.raises(MulanError, match=r"tags\.jsonl: line 1 is no change of tags"):
        list(restore(backup))


def test_no_words_are_a_callers_mistake(song):
    with pytest.raises(ValueError, match="need at least one"):
        plan_change(song("flac"), [], field=Field.GENRE)
