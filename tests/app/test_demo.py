"""The promise of the README on the demo library: right clips first, in the service and on the page.

Run: pytest tests/app/test_demo.py.
"""

import re
import shlex
from pathlib import Path

import pytest

from app.demo import DEMO_LIBRARY
from app.server import create_app
from app.service import SearchService
from data.manifest import read_manifest
from indexing import Index
from indexing.query.nodes import Text
from indexing.query.parse import parse_query

README = Path(__file__).parents[2] / "README.md"
# The example queries of the page, and the words of the README's; the tags that make a clip a right answer to each.
PROMISES = {
    "slow solo piano": {"piano", "solo", "slow"},
    "loud distorted guitars": {"distorted guitar"},
    "ambient synth pad": {"synth pad"},
    "baroque harpsichord": {"baroque", "harpsichord"},
    "techno with synthesizer and drums": {"techno", "synth", "drums"},
    "warm analog synth": {"synth"},
    "solo violin": {"solo", "violin"},
    "saxophone": {"saxophone"},
}


@pytest.fixture(scope="module")
def service(demo_encoder, demo_index):
    return SearchService(demo_encoder, Index.open(demo_index))


def right_clips(tags: set[str]) -> set[str]:
    return {track.path.name for track in read_manifest(DEMO_LIBRARY / "manifest.jsonl") if tags <= set(track.tags)}


def readme_words() -> set[str]:
    """What the README's searches and playlists look for in words; not what they look away from."""
    commands = re.findall(r"^mulan (?:search|playlist) .*", README.read_text(encoding="utf-8"), re.MULTILINE)
    queries = [shlex.split(command, comments=True)[2] for command in commands]
    terms = [term for query in queries if not query.startswith("-") for term in parse_query(query).terms]
    return {term.subject.words for term in terms if isinstance(term.subject, Text) and term.weight > 0}


@pytest.mark.parametrize("query", PROMISES)
def test_an_example_query_has_its_right_clips_in_the_top_three(service, query):
    right = right_clips(PROMISES[query])
    found = {hit.path.name for hit in service.search(query, k=3)}
    assert len(right) >= 2
    assert len(found & right) >= min(3, len(right))


def test_the_examples_on_the_page_and_in_the_readme_are_the_promised_ones():
    from app.ui import EXAMPLE_QUERIES

    assert {*EXAMPLE_QUERIES, *readme_words()} == set(PROMISES)


def test_the_demo_library_is_small_and_its_clips_are_short():
    tracks = read_manifest(DEMO_LIBRARY / "manifest.jsonl")
    assert 40 <= len(tracks) <= 60
    assert all(10 <= track.seconds <= 20 for track in tracks)
    assert {track.path for track in tracks} == set(DEMO_LIBRARY.glob("*.opus"))
    assert sum(path.stat().st_size for path in DEMO_LIBRARY.iterdir()) < 8_000_000


@pytest.mark.needs_chromium
def test_a_visitor_types_slow_solo_piano_and_hears_it(visit, running, service):
    with running(create_app(service)) as url:
        seen = visit(url, query="slow solo piano", sound_file=min(DEMO_LIBRARY.glob("*.opus")))
    titles = {track.facts["title"] for track in read_manifest(DEMO_LIBRARY / "manifest.jsonl") if "slow" in track.tags}
    assert seen.titles[0].startswith("Solo piano")
    assert seen.titles[0] in titles
    assert seen.start <= seen.positions[0] < seen.positions[1]
