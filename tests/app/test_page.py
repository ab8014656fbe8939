"""The page in a real headless Chromium: type, search, see, play, tag. Run: pytest tests/app/test_page.py."""

import pytest

from app.service import DEFAULT_TAGS

pytestmark = pytest.mark.needs_chromium


def test_a_visitor_searches_listens_and_tags(visit, page_url, library):
    seen = visit(page_url, query="a high tone", sound_file=library / "low.wav")

    assert seen.titles[:2] == ["then-high", "middle-and-high"]
    assert seen.start == 10.0
    assert 10.0 <= seen.positions[0] < seen.positions[1] < 20.0
    assert sorted(seen.tags) == sorted(DEFAULT_TAGS)
    assert seen.tags[0] == "slow"  # the toy encoder reads the "low" in it
    strangers = [a for a in seen.addresses if not a.startswith((page_url, f"blob:{page_url}", "data:", "chrome:"))]
    assert strangers == []


def test_hostile_titles_are_shown_and_not_run(page, page_url, hostile_title):
    page.open(page_url)
    page.search("low")
    assert hostile_title in page.texts(".hit .title")
    assert page.run("return window.stolen") is None


def test_what_cannot_be_answered_is_one_line_on_the_page(page, page_url, tmp_path):
    words = tmp_path / "words.mp3"
    words.write_text("these are only words")
    page.open(page_url)
    page.search("   ")
    assert page.texts("#results .notice") == ["Type what you would like to hear, then press Search."]
    page.drop_similar(words)
    (notice,) = page.texts("#results .notice")
    assert notice.startswith("words.mp3: ")


def test_a_dropped_file_finds_music_like_it(page, page_url, library):
    page.open(page_url)
    page.drop_similar(library / "then-high.ogg")
    # Its three windows hold one tone each, so the mean of them is nearest to the track that has two at once.
    assert page.texts(".hit .title")[0] == "middle-and-high"
    assert page.texts(".found")[0].startswith("Like then-high.ogg")


def test_an_example_fills_the_box_and_answers(page, page_url):
    page.open(page_url)
    page.click("#examples button")
    page.wait("#results .hits")
    assert page.run("return document.querySelector('#query textarea, #query input').value") == "slow solo piano"


def test_own_tags_are_scored_instead_of_the_general_list(page, page_url, library):
    page.open(page_url)
    assert page.tag(library / "middle.flac", own_tags="low, middle\nhigh")[0] == "middle"
    assert sorted(page.texts("#bars .tag")) == ["high", "low", "middle"]


def test_what_is_not_playable_here_is_decoded_and_plays(page, page_url):
    page.open(page_url)
    page.search("middle high")
    assert page.texts(".hit .title")[0] == "middle-and-high"
    start, positions = page.play_first()
    assert start == 0.0
    assert positions[1] > positions[0] > 0.0


def test_the_page_fits_a_phone_and_names_model_and_licence(page, page_url):
    page.open(page_url, width=390, height=800)
    page.search("low")
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    assert page.texts(".facts li") == ["tone-encoder", "5 tracks", "9 windows", "float32"]
    assert "CC-BY-NC-4.0" in page.texts(".licence")[0]
