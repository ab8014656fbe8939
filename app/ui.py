"""The page: words or a file in, music to listen to out. It renders; the service does the work.

Titles and tags come from files that anybody may have written, so everything is escaped. Results are the *value*
of `gr.HTML`, never part of its template: gradio evaluates the template as JavaScript.
"""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.service import DEFAULT_TAGS, SearchService, TagScore, clock, counted, is_non_commercial, split_tags, tag_file
from data.errors import MulanError, QueryError

if TYPE_CHECKING:
    from indexing import Hit

EXAMPLE_QUERIES = (
    "slow solo piano",
    "loud distorted guitars",
    "ambient synth pad",
    "baroque harpsichord",
    "techno with synthesizer and drums",
)
RESULT_COUNTS = (5, 10, 20, 50)
MAX_QUERY_CHARACTERS = 1000
MAX_TAGS = 200

SHARE_MEANING = (
    "Shares of 100 %: how the model would decide if exactly one tag of this list were true. "
    "They compare tags within the list, and change with it."
)
COSINE_MEANING = "Cosine similarity of the track and each tag, from −1 to 1."
_BESIDE = Path(__file__).parent
# One request at a time uses the encoder; the others wait in gradio's queue.
_ENCODER_QUEUE: dict[str, Any] = {"concurrency_id": "encoder", "concurrency_limit": 1}


def page_look() -> dict[str, Any]:
    """Theme, style and script, which gradio takes when the page is mounted; all served from this process."""
    # Many of the font files that gradio brings lack Latin letters (the SemiBold of this one does, too).
    sans = gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700))
    system = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
    return {
        "theme": gr.themes.Base(primary_hue="orange", neutral_hue="stone", font=[sans, *system]),
        "css_paths": _BESIDE / "page.css",
        "head": f"<script>{(_BESIDE / 'page.js').read_text(encoding='utf-8')}</script>",
    }


def build_page(service: SearchService) -> gr.Blocks:
    """The page over a service, to be mounted with `page_look()`."""
    with gr.Blocks(title="mulan · search music with words", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        header = gr.HTML(_header(service), apply_default_css=False)
        with gr.Tab("Search", elem_id="search-tab"):
            _build_search(service)
        with gr.Tab("Tag", elem_id="tag-tab"):
            _build_tag(service)
        # The index may have grown since the page was built, or have another model.
        page.load(lambda: _header(service), None, header, api_visibility="private", show_progress="hidden")
    return page


def _build_search(service: SearchService) -> None:
    def by_words(query: str, count: int) -> str:
        query = " ".join(query.split())
        if not query:
            return _notice("Type what you would like to hear, then press Search.")
        if len(query) > MAX_QUERY_CHARACTERS:
            return _notice(f"That is {len(query)} characters; a query may have {MAX_QUERY_CHARACTERS}.")
        return _answer(lambda: _results(f"“{query}”", service.search(query, k=count, explain=True), service))

    def by_file(path: str | None, count: int) -> str:
        if path is None:
            return _notice("Drop an audio file to find music like it.")
        return _answer(lambda: _results(f"Like {Path(path).name}", service.search_file(path, k=count), service))

    with gr.Row(elem_id="ask", equal_height=True):
        query = gr.Textbox(
            placeholder="Describe the music: instruments, style, tempo …",
            show_label=False,
            label="Query",
            container=False,
            autofocus=True,
            max_lines=1,
            max_length=MAX_QUERY_CHARACTERS,
            elem_id="query",
        )
        button = gr.Button("Search", variant="primary", elem_id="search", scale=0, min_width=112)
    with gr.Row(elem_id="examples"):
        examples = [gr.Button(text, size="sm", min_width=0, scale=0) for text in EXAMPLE_QUERIES]
    with gr.Row(elem_id="options"):
        with gr.Accordion("Or find music like this one", open=False, elem_id="like"):
            upload = _sound_upload("like-file")
        count = gr.Radio(
            choices=list(RESULT_COUNTS),
            value=10,
            label="Results",
            elem_id="count",
            scale=0,
            min_width=250,
            container=False,
        )
    results = gr.HTML(elem_id="results", apply_default_css=False)

    gr.on([query.submit, button.click], by_words, [query, count], results, api_name="search", **_ENCODER_QUEUE)
    upload.upload(by_file, [upload, count], results, api_name="similar", **_ENCODER_QUEUE)
    for example in examples:
        example.click(
            lambda text, count: (text, by_words(text, count)),
            [example, count],
            [query, results],
            api_visibility="private",
            **_ENCODER_QUEUE,
        )


def _build_tag(service: SearchService) -> None:
    def tag(path: str | None, wanted: str) -> str:
        if path is None:
            return _notice("Drop an audio file to see what the model hears in it.")
        tags = split_tags(wanted) or list(DEFAULT_TAGS)
        if len(tags) > MAX_TAGS:
            return _notice(f"That is {len(tags)} tags; a list may have {MAX_TAGS}.")
        encoder = service.encoder  # one for both, though the service may follow its index to another
        return _answer(lambda: _tag_bars(tag_file(encoder, path, tags), encoder.logit_scale is not None))

    with gr.Row(elem_id="tagging"):
        with gr.Column(min_width=280):
            upload = _sound_upload("tag-file")
            wanted = gr.Textbox(
                label="Your own tags",
                info="Separated by commas or lines. Empty: a general list.",
                placeholder="solo piano, strings, no drums …",
                lines=3,
                max_lines=8,
                elem_id="tags",
            )
            button = gr.Button("Tag", variant="primary", elem_id="tag")
        with gr.Column(min_width=280):
            bars = gr.HTML(
                _notice("Drop an audio file to see what the model hears in it."),
                elem_id="bars",
                apply_default_css=False,
            )
    gr.on([button.click, upload.upload], tag, [upload, wanted], bars, api_name="tag", **_ENCODER_QUEUE)


def _sound_upload(elem_id: str) -> gr.Audio:
    """Where a visitor drops a sound file."""
    upload = gr.Audio(
        type="filepath",
        sources=["upload"],
        editable=False,
        buttons=[],
        show_label=False,
        label="File",
        elem_id=elem_id,
    )
    take_in = upload.async_move_resource_to_block_cache

    async def take_in_file(url_or_file_path: str | Path | None) -> str | None:
        # A client of the API may name a web address in place of its upload, and gradio would fetch it.
        if url_or_file_path is None or not Path(url_or_file_path).is_file():
            raise ValueError("only an uploaded file can be used")
        return await take_in(url_or_file_path)

    upload.async_move_resource_to_block_cache = take_in_file  # type: ignore[method-assign]
    return upload


def _answer(render: Callable[[], str]) -> str:
    """What is wrong with a user's file or index is said on the page, in one line."""
    try:
        return render()
    except QueryError as error:
        # The query again, with a mark under the column at fault.
        where = f'<pre class="caret" aria-hidden="true">{_safe(error.caret)}</pre>' if error.caret else ""
        return _notice(str(error)) + where
    except MulanError as error:
        return _notice(str(error))


def _notice(line: str) -> str:
    return f'<p class="notice" role="status">{_safe(line)}</p>'


def _header(service: SearchService) -> str:
    encoder = service.encoder
    facts = (
        encoder.name,
        counted(len(service.index.tracks), "track"),
        counted(service.windows, "window"),
        encoder.precision,
    )
    listed = "".join(f"<li>{_safe(fact)}</li>" for fact in facts)
    banner = ""
    if is_non_commercial(encoder.licence):
        text = f"The model’s licence is {encoder.licence}: for non-commercial use only."
        banner = f'<p class="licence" role="note">{_safe(text)}</p>'
    bars = "".join(f'<i style="height:{height}%"></i>' for height in (36, 72, 100, 58, 84, 30))
    return (
        f'<header class="masthead"><div><h1><span class="glyph" aria-hidden="true">{bars}</span>mulan</h1>'
        f'<p>Search music with words</p></div><ul class="facts">{listed}</ul></header>{banner}'
    )


def _results(heading: str, hits: "Sequence[Hit]", service: SearchService) -> str:
    if not hits:
        return _notice("Nothing found: no track passes the filter." if service.index.tracks else "This index is empty.")
    rows = "".join(_hit(hit, service) for hit in hits)
    found = f"{counted(len(hits), 'result')}, nearest first"
    return f'<h2 class="found">{_safe(heading)} <small>{found}</small></h2><ol class="hits">{rows}</ol>'


def _hit(hit: "Hit", service: SearchService) -> str:
    artist = f' <span class="artist">— {_safe(hit.artist)}</span>' if hit.artist else ""
    return (
        f'<li class="hit" data-track="{hit.track}"><span class="rank">{hit.rank}</span>{_player(hit, service)}'
        f'<div class="what"><span class="title">{_safe(hit.title)}</span>{artist}</div>'
        f'<div class="score" title="{_safe(_meaning(hit))}">{_bar(hit.score)}{hit.score:.2f}</div></li>'
    )


def _meaning(hit: "Hit") -> str:
    """What a score is, where it stands in the library, and what terms it is made of if there are several."""
    lines = [
        "cosine similarity of your query and the best moment",
        f"no lower than that of {hit.percentile:.1f} % of the library",
    ]
    if len(hit.shares) > 1:
        lines += [f"{share.share:+.2f}  {share.term}" for share in hit.shares]
    return "\n".join(lines)


def _player(hit: "Hit", service: SearchService) -> str:
    """Button, sound and a line of the whole track on which the best moment is marked; page.js joins them."""
    track = service.track(hit.track)
    if track is None or not Path(track.path).is_file():
        return '<p class="where gone">no longer where it was indexed; build the index again</p>'
    seconds = max(track.seconds, hit.end)
    moment = f"{clock(hit.start)} – {clock(hit.end)}"
    marks = f"--from:{hit.start / seconds:.2%};--to:{hit.end / seconds:.2%};--at:{hit.start / seconds:.2%}"
    return (
        f'<button type="button" class="play" aria-label="Play {_safe(hit.title)} from {clock(hit.start)}"></button>'
        f'<audio preload="none" data-start="{hit.start:.3f}" src="/audio/{hit.track}#t={hit.start:.3f}"></audio>'
        f'<div class="where"><span class="moment" title="the best moment">{moment}</span>'
        f'<input type="range" class="line" style="{marks}" min="0" max="{seconds:.3f}" step="0.1" '
        f'value="{hit.start:.3f}" aria-label="Position in seconds"><span class="length">{clock(seconds)}</span></div>'
    )


def _tag_bars(scores: Sequence[TagScore], has_shares: bool) -> str:
    rows = "".join(
        f'<li><span class="tag">{_safe(score.tag)}</span>{_bar(score.share)}'
        f'<span class="value">{f"{score.share:.0%}" if has_shares else f"{score.score:.2f}"}</span></li>'
        for score in scores
    )
    meaning = SHARE_MEANING if has_shares else COSINE_MEANING
    return f'<ol class="tags">{rows}</ol><p class="meaning">{meaning}</p>'


def _bar(share: float) -> str:
    return f'<span class="bar"><i style="width:{min(max(share, 0.0), 1.0):.1%}"></i></span>'


def _safe(text: str) -> str:
    """Text for HTML; names of files need not be UTF-8, and what is not becomes a question mark."""
    return escape(text.encode(errors="replace").decode())
