"""Texts drawn for training: as often as configured, and true of their track. Run: pytest tests/data/test_texts.py."""

from collections import Counter

import numpy as np
import pytest

from data.captions import claimed_tags
from data.config import parse_config
from data.errors import ConfigError
from data.manifest import Track
from data.texts import TEMPLATES, TextAugmentation, draw_text

DEFAULT = TextAugmentation()
TAGS = ("piano", "slow", "no drums", "solo", "jazz", "quiet")
LONG = "A slow piano piece. It was played by Mr. Smith at approx. 60 bpm. There is jazz in it!"


def track(*, captions=("slow piano", "jazz"), tags=TAGS):
    return Track(id="a", path=None, seconds=1.0, captions=captions, tags=tags, absent=(), split="train")


def drawn(config=DEFAULT, *, count=2000, seed=0, **of_track):
    rng = np.random.default_rng(seed)
    return [draw_text(track(**of_track), rng, config) for _ in range(count)]


def test_by_default_captions_and_lists_are_drawn_as_they_are():
    def as_trained(track, rng):  # the loader of that time
        if track.captions and (not track.tags or rng.random() < 0.5):
            caption = track.captions[rng.integers(len(track.captions))]
            return caption, claimed_tags(caption, track.tags)
        wanted = min(int(rng.choice((1, 2, 3, 4), p=(0.5, 0.25, 0.15, 0.1))), len(track.tags))
        tags = [track.tags[i] for i in rng.permutation(len(track.tags))[:wanted]]
        return ", ".join(tags), tuple(tags)

    rng = np.random.default_rng(5)
    assert drawn(seed=5) == [as_trained(track(), rng) for _ in range(2000)]


def test_captions_and_lists_come_as_often_as_configured():
    config = TextAugmentation(caption_share=0.25, list_lengths=(1, 3), list_length_shares=(0.2, 0.8))
    kinds = Counter("caption" if text in {"slow piano", "jazz"} else len(claims) for text, claims in drawn(config))
    single_words_that_are_a_caption = 0.75 * 0.2 / 6 * 2000  # "jazz" is both
    assert kinds["caption"] == pytest.approx(500 + single_words_that_are_a_caption, abs=80)  # 4 standard deviations
    assert kinds[1] == pytest.approx(300 - single_words_that_are_a_caption, abs=64)
    assert kinds[3] == pytest.approx(1200, abs=88)


def test_lists_are_shuffled_and_claim_their_tags():
    config = TextAugmentation(list_lengths=(6,), list_length_shares=(1,))
    lists = drawn(config, captions=())
    assert all(text.split(", ") == list(claims) for text, claims in lists)
    firsts = Counter(claims[0] for _, claims in lists)
    assert all(firsts[tag] == pytest.approx(2000 / 6, abs=67) for tag in TAGS)


def test_tag_dropout_shortens_lists_and_leaves_at_least_one_tag():
    config = TextAugmentation(list_lengths=(6,), list_length_shares=(1,), tag_dropout=0.5)
    lengths = [len(claims) for text, claims in drawn(config, captions=()) if text.split(", ") == list(claims)]
    assert len(lengths) == 2000
    assert min(lengths) == 1
    assert np.mean(lengths) == pytest.approx(3 + 0.5**6, abs=0.11)  # an emptied list keeps one
    always = TextAugmentation(list_lengths=(6,), list_length_shares=(1,), tag_dropout=1)
    assert {len(claims) for _, claims in drawn(always, captions=())} == {1}


def test_sentence_dropout_keeps_whole_sentences_in_their_order_and_claims_only_what_they_state():
    first, second, third = LONG[:20], LONG[20:66], LONG[66:]
    assert (first, third) == ("A slow piano piece. ", "There is jazz in it!")
    texts = dict(drawn(TextAugmentation(caption_share=1, sentence_dropout=0.5), captions=(LONG,)))
    assert texts[LONG] == ("piano", "slow", "jazz")
    assert texts["A slow piano piece."] == ("piano", "slow")
    assert texts["There is jazz in it!"] == ("jazz",)
    assert texts[first + third] == ("piano", "slow", "jazz")
    assert texts[second.strip()] == TAGS  # states none in words that are known: then it may mean any
    assert len(texts) == 7  # every choice but the empty one


def test_chinese_sentences_are_dropped_too():
    texts = dict(drawn(TextAugmentation(caption_share=1, sentence_dropout=0.5), captions=("慢速钢琴。没有鼓！很安静",)))
    assert {"慢速钢琴。", "没有鼓！很安静", "慢速钢琴。没有鼓！很安静"} <= texts.keys()
    assert len(texts) == 7


@pytest.mark.parametrize("caption", ["slow piano", "J. S. Bach. vol. two", "By Mr. Smith, approx. 90 bpm."])
def test_a_caption_of_one_sentence_stays_whole(caption):
    assert {text for text, _ in drawn(TextAugmentation(caption_share=1, sentence_dropout=1), captions=(caption,))} == {
        caption
    }


def test_templates_wrap_lists_and_claim_the_same():
    config = TextAugmentation(caption_share=0, template_share=0.75)
    texts = drawn(config)
    wrapped = [(text, claims) for text, claims in texts if text != ", ".join(claims)]
    assert len(wrapped) == pytest.approx(1500, abs=78)
    assert all(", ".join(claims) in text for text, claims in wrapped)
    used = Counter(text.replace(", ".join(claims), "{tags}") for text, claims in wrapped)
    assert used.keys() == set(TEMPLATES)


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_template_says_a_word_of_the_vocabulary(template):
    from data.facts import TAGS as vocabulary

    sentence = template.format(tags="")
    assert claimed_tags(sentence, vocabulary) == tuple(vocabulary)  # which is what it gives when it finds none


def test_a_text_depends_on_the_generator_alone():
    config = TextAugmentation(tag_dropout=0.3, sentence_dropout=0.3, template_share=0.3)
    assert drawn(config, seed=1, captions=(LONG,)) == drawn(config, seed=1, captions=(LONG,))
    assert drawn(config, seed=1, captions=(LONG,)) != drawn(config, seed=2, captions=(LONG,))


def test_a_track_without_words_is_refused():
    with pytest.raises(ValueError, match="track a: has neither captions nor tags"):
        drawn(captions=(), tags=())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"list_lengths": (1, 2)}, r"list_lengths \[1, 2\] and list_length_shares .*: must be equally many"),
        ({"list_length_shares": (0.5, 0.5, 0.5, 0.5)}, r"list_length_shares .*: sum to 2; must sum to 1"),
        ({"tag_dropout": 1.5}, r"tag_dropout = 1.5: input should be less than or equal to 1"),
        ({"tag_drop": 0.5}, r"unknown key 'tag_drop'; did you mean 'tag_dropout'\?"),
    ],
)
def test_a_wrong_configuration_is_refused(values, message):
    with pytest.raises(ConfigError, match=rf"^x: {message}$"):
        parse_config(TextAugmentation, values, where="x")


def test_a_slip_of_the_finger_changes_one_long_word_and_no_claim():
    config = TextAugmentation(caption_share=0.0, list_lengths=(1,), list_length_shares=(1.0,), typo_share=1.0)
    found = drawn(config, captions=(), tags=("saxophone",))
    assert {claims for _, claims in found} == {("saxophone",)}
    texts = {text for text, _ in found}
    assert all(text[0] == "s" and text[-1] == "e" for text in texts)
    assert {len(text) for text in texts} == {8, 9, 10}  # a letter lost, two exchanged, one doubled
    assert len(texts) > 10


def test_short_words_are_never_misspelt():
    config = TextAugmentation(caption_share=0.0, typo_share=1.0)
    assert set(drawn(config, captions=(), tags=("soul",))) == {("soul", ("soul",))}
