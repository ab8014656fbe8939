"""`mulan eval report` on results that the evaluations have written. Run: pytest tests/app/test_report.py."""

import io
import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from app.published import PUBLISHED
from app.report import read_results, report
from app.report_tables import remarks
from data.datasets.dataset import Dataset, tagged_tracks
from data.datasets.magnatagatune import TAGS
from data.errors import MulanError
from data.manifest import Track
from mulan.evaluation.prompts import PromptSet
from mulan.evaluation.record import write_result
from mulan.evaluation.retrieval import evaluate_retrieval
from mulan.evaluation.tagging import evaluate_tagging

# The toy encoder places unlike texts on a short arc: that is what the warning is about, and no fault here.
pytestmark = pytest.mark.filterwarnings("ignore::mulan.evaluation.collapse.TextCollapseWarning")

# A tag is the angle in it, and so is a track: "near 10" ranks 10, 30, 50, 90.
NEAR, FAR, ODD = "near 10", "far 90", "<script>alert(10)</script> $x_1$"
TRUTH = {10: {NEAR, ODD}, 30: {NEAR, FAR}, 50: set(), 90: {FAR, ODD}}


class Page(HTMLParser):
    """The tables under their headings, every element's name, and all text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.elements: set[str] = set()
        self.text = ""
        self._inside, self._heading = "", ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.elements.add(tag)
        self._inside = tag
        if tag in ("h2", "summary"):
            self._heading = ""
        if tag == "tr":
            self.tables.setdefault(self._heading, []).append([])
        if tag in ("td", "th"):
            self.tables[self._heading][-1].append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, content):
        self.text += content
        if self._inside in ("h2", "summary"):
            self._heading += content
        if self._inside in ("td", "th"):
            self.tables[self._heading][-1][-1] += content


@pytest.fixture
def toys(tmp_path, write_track) -> Dataset:
    """Four tracks, known for three tags; nobody has the fourth."""
    tags = (NEAR, FAR, ODD, "nowhere 5")
    tracks = tuple(
        Track(
            id=f"{angle}.wav",
            path=write_track(tmp_path / f"{angle}.wav", angle),
            tags=tuple(tag for tag in tags if tag in true),
            absent=tuple(tag for tag in tags if tag not in true),
            captions=(f"sounds like {angle}",),
            split="heldout",
        )
        for angle, true in TRUTH.items()
    )
    return replace(tagged_tracks("toys", tracks), labels=tags)


@pytest.fixture
def tagging(tmp_path, toys, toy_encoder):
    """tagging(name="a.json", model="toy", **changes): a result on the toys; changes are of the JSON."""

    def write(name: str = "a.json", *, model: str = "toy", **changes) -> Path:
        encoder = type(toy_encoder)(name=model, fingerprint=model)
        prompts = {"bare": PromptSet(), "other": PromptSet(templates=("1{}",))}
        found = evaluate_tagging(encoder, toys, prompts=prompts)
        path = tmp_path / name
        write_result(path, asdict(found.figures), found.record, found.witness, command="mulan eval tags --out a.json")
        return edit(path, **changes)

    return write


@pytest.fixture
def retrieval(tmp_path, toys, toy_encoder) -> Path:
    found = evaluate_retrieval(toy_encoder, toys)
    path = tmp_path / "retrieval.json"
    write_result(path, asdict(found.figures), found.record, found.witness, command="mulan eval retrieval")
    return path


def edit(path: Path, **changes) -> Path:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


def published_mtt(path: Path, **changes) -> Path:
    """A result made to look like one of the whole MagnaTagATune: its counts and its 50 tags."""
    content = json.loads(path.read_text())
    one = content["per_tag"][NEAR]
    clips = {"used": 5326, "missing": 1, "failed": 1, "broken": 1}
    mtt = {"dataset": "mtt", "split": "full", "clips": clips, "per_tag": dict.fromkeys(TAGS, one), "unscored_tags": []}
    return edit(path, **{**mtt, **changes})


def run(*arguments: object):
    app = typer.Typer()
    app.command()(report)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def page_of(tmp_path: Path, *results: Path) -> Page:
    out = tmp_path / "report.html"
    outcome = run(*results, "--out", out)
    assert outcome.exit_code == 0, (outcome.output, outcome.exception)
    return Page(out)


def test_figures_intervals_and_prompts_are_those_of_the_result(tmp_path, tagging):
    page = page_of(tmp_path, tagging())
    # near: 10 and 30 come first: 4 of 4 pairs. far: 50 comes before 30: 3 of 4. odd: 10 is first, 90 last: 2 of 4.
    rows = {row[0]: row[1:] for row in page.tables["Every tag"][1:]}
    assert list(rows) == [NEAR, FAR, ODD]
    assert [row[1] for row in rows.values()] == ["1.000", "0.750", "0.500"]
    assert rows[NEAR][-2:] == ["2 †", "2"]
    assert page.tables["Averages"][1][:2] == ["toy", "0.750"]  # (1 + 0.75 + 0.5) / 3
    assert re.fullmatch(r"\d\.\d{3}–\d\.\d{3}", page.tables["Averages"][1][2])
    assert [row[:2] for row in page.tables["What other prompts give"][1:]] == [
        ["bare", "each text alone"],
        ["other", "each text alone"],
    ]
    assert "Without positives or without negatives, so in no average: nowhere 5." in page.text


def test_bars_are_sorted_with_the_number_of_positives_and_chance(tmp_path, tagging):
    page_of(tmp_path, tagging())
    picture = re.findall(r"<svg.*?</svg>", (tmp_path / "report.html").read_text(), re.DOTALL)[0]
    labels = re.findall(r">([^<>]+ \(2 †\))</text>", picture)
    assert [label.split()[0] for label in labels] == ["near", "far", "&lt;script&gt;alert…/script&gt;"]
    assert "0.5 is chance" in picture
    assert "ROC-AUC of 3 tags, macro (95 %)" in picture
    assert "toy: 0.750" in picture


def test_a_tag_of_under_ten_clips_is_marked_in_picture_and_table_with_a_footnote(tmp_path, tagging):
    path = tagging()
    one = json.loads(path.read_text())["per_tag"][NEAR]
    page = page_of(tmp_path, edit(path, per_tag={"rare": {**one, "positives": 9}, "known": {**one, "positives": 10}}))
    assert {row[0]: row[6] for row in page.tables["Every tag"][1:]} == {"rare": "9 †", "known": "10"}
    assert {"rare (9 †)", "known (10)"} <= set(re.findall(r"\w+ \(\d+[^)]*\)", page.text))
    assert page.text.count("† fewer than 10 clips: the interval says little") == 3  # two pictures and the table
    page = page_of(tmp_path, edit(path, per_tag={"known": {**one, "positives": 10}}))
    assert "†" not in page.text


def test_how_it_was_made_is_told(tmp_path, tagging):
    clips = {"used": 4, "missing": 1, "failed": 1, "broken": 1}
    names = {"missing": ["gone.wav"], "failed": [["cut.wav", "ends early"]], "broken": ["bad.wav"]}
    page = page_of(tmp_path, tagging(clips=clips, short=["10.wav", "30.wav"], **names))
    told = {row[0]: row[1] for row in page.tables["How it was made"][1:]}
    assert (told["fingerprint"], told["licence"], told["precision"]) == ("toy", "Apache-2.0", "float32 on cpu")
    assert told["command"] == "mulan eval tags --out a.json"
    assert len(told["split hash"]) == 64
    assert [row[1] for row in page.tables["Clips"][1:]] == ["4", "2", "1", "1", "1"]
    left_out = {row[0]: row[1] for row in page.tables["Clips left out"][1:]}
    assert left_out == {"cut.wav": "ends early", "gone.wav": "no file", "bad.wav": "known to be broken"}


def test_the_padded_batch_is_marked_as_that_of_the_released_code(tmp_path, tagging):
    path = tagging()
    rows = json.loads(path.read_text())["sensitivity"]
    page = page_of(tmp_path, edit(path, sensitivity=[rows[0], {**rows[0], "text_regime": "padded-batch"}]))
    assert page.tables["What other prompts give"][2][1] == "padded batch, as the released code"


def test_the_page_runs_and_loads_nothing_and_escapes_tags_and_names(tmp_path, tagging):
    page = page_of(tmp_path, tagging(model="<img src=x onerror=alert(1)>"))
    assert not page.elements & {"script", "img", "link", "iframe"}
    assert ODD in [row[0] for row in page.tables["Every tag"]]
    text = (tmp_path / "report.html").read_text()
    assert "<script" not in text
    assert "<img" not in text
    assert not re.search(r"(href|src)=\"(?!#)", text)
    assert "url(http" not in text


def test_the_pictures_follow_the_page_into_the_dark(tmp_path, tagging):
    page_of(tmp_path, tagging())
    text = (tmp_path / "report.html").read_text()
    pictures = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", pictures)) == set()
    assert "var(--series-0)" in pictures
    assert "prefers-color-scheme: dark" in text


def test_two_results_stand_side_by_side_in_two_colours(tmp_path, tagging):
    page = page_of(tmp_path, tagging("a.json", model="one"), tagging("b.json", model="two"))
    assert [row[0] for row in page.tables["Averages"][1:]] == ["one", "two"]
    assert [row[:2] for row in page.tables["Every tag"][1:3]] == [[NEAR, "one"], [NEAR, "two"]]
    text = (tmp_path / "report.html").read_text()
    assert text.count("fill: var(--series-0)") == text.count("fill: var(--series-1)") > 6  # 3 tags, 2 measures


def test_two_results_of_one_model_are_told_apart_by_their_files(tmp_path, tagging):
    first, second = tagging("a.json"), tagging("b.json")
    page = page_of(tmp_path, first, second)
    assert [row[0] for row in page.tables["Averages"][1:]] == [f"toy ({first})", f"toy ({second})"]


def test_published_figures_stand_beside_the_whole_magnatagatune(tmp_path, tagging):
    page = page_of(tmp_path, published_mtt(tagging()))
    rows = {row[0]: row[1:] for row in page.tables["Published zero-shot MagnaTagATune"][1:]}
    assert rows["MuQ-MuLan"][:3] == ["130K", "0.793", "0.293"]
    assert rows["MuLan (Google)"][1:3] == ["0.782", "–"]
    assert "from the MuLan paper" in rows["MuLan (Google)"][3]
    assert all("MuQ paper, arXiv:2501.01108, table 5" in row[3] for row in rows.values())
    assert "Split and prompts of the published figures are not stated." in page.text
    assert "The split is not the full one" not in page.text


def test_two_names_of_one_truth_stand_side_by_side_and_both_are_shown(tmp_path, tagging):
    clips = {"used": 4331, "missing": 0, "failed": 0, "broken": 1}
    first = published_mtt(tagging("a.json", model="one"), split="minz", clips=clips)
    second = published_mtt(tagging("b.json", model="two"), split="lists of mtat", clips=clips)
    found = ["The split is not the full one but 'minz': 4,332 test clips cleaned and 5,329 full are not comparable."]
    assert remarks(read_results([first])) == found
    page = page_of(tmp_path, first, second)
    assert "Published zero-shot MagnaTagATune" in page.tables
    assert "mtt, minz alias lists of mtat" in page.text
    assert "not the full one but 'minz' alias 'lists of mtat'" in page.text
    assert ["split", "minz", "lists of mtat"] in page.tables["How it was made"]
    full = {**clips, "used": 5328, "broken": 1}
    for path, split in ((first, "full"), (second, "lists of folders")):
        edit(path, split=split, clips=full)
    assert "not the full one" not in page_of(tmp_path, first, second).text


def test_where_none_are_published_the_page_has_none(tmp_path, tagging):
    page = page_of(tmp_path, tagging())
    assert not [row.model for row in PUBLISHED["mtt"].rows if row.model in page.text]
    assert "exist only for a set's own protocol" in page.text


def test_retrieval_has_both_directions_and_bars(tmp_path, retrieval):
    page = page_of(tmp_path, retrieval)
    rows = {(row[0], row[1]): row[2] for row in page.tables["Averages"][1:]}
    # Each caption names its track's own angle, so all come first.
    assert rows["text to audio", "R@1"] == "1.0000 (1.0000–1.0000)"
    assert rows["audio to text", "MRR"] == "1.0000 (1.0000–1.0000)"
    assert rows["audio to text", "median rank"] == "1 (1.0–1.0)"
    assert "share of 4 queries with a hit in the first k of 4" in page.text
    assert "exist only for a set's own protocol" in page.text


def test_published_retrieval_stands_beside_its_own_set_only(tmp_path, retrieval):
    clips = {"used": 706, "missing": 0, "failed": 0, "broken": 0}
    page = page_of(tmp_path, edit(retrieval, dataset="song-describer", split="all", clips=clips))
    rows = {row[0]: row[1:] for row in page.tables["Published retrieval on Song Describer"][1:]}
    assert rows["CLAP, text to audio"][:3] == ["0.0442", "0.1702", "0.2601"]
    page = page_of(tmp_path, edit(retrieval, split="valid", clips={**clips, "used": 547}))
    assert "Published retrieval on Song Describer" not in page.tables
    clips = {**clips, "used": 4281, "missing": 1240}
    page = page_of(tmp_path, edit(retrieval, dataset="musiccaps", split="all", clips=clips))
    rows = {row[0]: row[1:] for row in page.tables["Published retrieval on MusicCaps"][1:]}
    assert rows["MuQ-MuLan-large, text to audio"][:4] == ["0.0355", "0.1119", "0.1792", "0.0698"]


def test_both_directions_of_the_padded_batch_are_rows_marked_as_the_released_code(tmp_path, retrieval):
    title = "Captions in a padded batch, as the released code"
    assert title not in page_of(tmp_path, retrieval).tables
    content = json.loads(retrieval.read_text())
    padded = {way: {**content[way], "r_at_1": 0.25} for way in ("text_to_audio", "audio_to_text")}
    page = page_of(tmp_path, edit(retrieval, padded_batch=padded))
    assert [row[:2] for row in page.tables[title][1:]] == [
        ["toy, text to audio", "0.2500 (1.0000–1.0000)"],
        ["toy, audio to text", "0.2500 (1.0000–1.0000)"],
    ]


def test_the_picture_is_a_png_of_legible_size_and_small(tmp_path, tagging, retrieval):
    mtt = published_mtt(tagging())
    for result in (mtt, retrieval):
        outcome = run(result, "--out", tmp_path / "report.png")
        assert outcome.exit_code == 0, (outcome.output, outcome.exception)
        content = (tmp_path / "report.png").read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(content) < 300_000
        width, height = Image.open(io.BytesIO(content)).size
        assert width == 1152
        assert height > 600


def test_odd_tags_are_drawn_without_a_word(tmp_path, tagging):
    path = tagging()
    one = json.loads(path.read_text())["per_tag"][NEAR]
    unsure = {**one, "roc_auc_ci95": [float("nan"), float("nan")]}
    edit(path, per_tag={"尺八": one, "x" * 500: one, "_$": unsure})
    assert run(path, "--out", tmp_path / "report.png").exit_code == 0
    assert "尺八 (2 †)" in page_of(tmp_path, path).text


def test_of_very_many_tags_the_most_frequent_are_drawn_and_all_are_listed(tmp_path, tagging):
    path = tagging()
    one = json.loads(path.read_text())["per_tag"][NEAR]
    page = page_of(
        tmp_path, edit(path, per_tag={f"tag {count}": {**one, "positives": count} for count in range(1, 106)})
    )
    assert len(page.tables["Every tag"]) == 1 + 105
    assert "ROC-AUC of the 100 commonest of 105 tags, macro" in page.text
    assert "tag 6 (6 †)" in page.text
    assert "tag 5 (5 †)" not in page.text


def one_line(*arguments: object) -> str:
    error = run(*arguments).exception
    assert isinstance(error, MulanError)
    assert "\n" not in str(error)
    return str(error)


def test_what_is_no_result_or_a_damaged_one_is_one_line(tmp_path, tagging):
    out = tmp_path / "report.html"
    (tmp_path / "no.json").write_text("[]")
    assert "no.json: is no result" in one_line(tmp_path / "no.json", "--out", out)
    assert "gone.json: No such file or directory; give a file that" in one_line(tmp_path / "gone.json", "--out", out)
    assert "is no whole result: per_tag" in one_line(tagging(per_tag=3), "--out", out)
    assert "task is 'probe'; reports are of tagging and retrieval" in one_line(
        edit(tagging(), task="probe"), "--out", out
    )
    assert not out.exists()


def test_results_that_cannot_stand_side_by_side_are_refused(tmp_path, tagging, retrieval):
    out = tmp_path / "report.html"
    assert "different tasks (tagging, retrieval)" in one_line(tagging(), retrieval, "--out", out)
    other = tagging("other.json", split_sha256="0" * 64)
    assert re.search(
        r"different truths \(heldout \w{8}…, heldout 00000000…\)", one_line(tagging(), other, "--out", out)
    )
    assert "6 results: at most 5" in one_line(*[tagging()] * 6, "--out", out)


def test_the_name_of_the_report_says_what_it_is_and_where_it_can_lie(tmp_path, tagging):
    outcome = run(tagging(), "--out", tmp_path / "report.pdf")
    assert outcome.exit_code == 2
    assert "NAME.html or NAME.png" in " ".join(outcome.output.split())
    with pytest.raises(MulanError, match="cannot be written"):
        report([tagging()], tmp_path / "nowhere" / "report.png")
