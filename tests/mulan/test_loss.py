"""The contrastive losses against their definitions written as loops. Run: pytest tests/mulan/test_loss.py.

On one process; that several compute the same is in test_distributed.py.
"""

import math

import numpy as np
import pytest
import torch

from mulan.loss import (
    DISTILLED_SCALE,
    INITIAL_BIAS,
    MAX_LOGIT_SCALE,
    TAG_SOFTNESS,
    contrastive_loss,
    distillation_loss,
    glossary_loss,
    tag_loss,
)

EXACT = 1e-9  # float64 on both sides
KINDS = ("decoupled", "softmax", "sigmoid")


def unit_rows(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, 5, generator=generator, dtype=torch.float64), dim=1)


def mask(rows: int, share_of_negatives: float) -> torch.Tensor:
    chance = torch.rand(rows, rows, generator=torch.Generator().manual_seed(3))
    return (chance < share_of_negatives) & ~torch.eye(rows, dtype=torch.bool)


def options(kind: str, bias: float = INITIAL_BIAS) -> dict:
    return {"kind": kind, "bias": torch.tensor(bias)} if kind == "sigmoid" else {"kind": kind}


def by_loops(audio, text, scale, negatives, kind, bias) -> float:
    scores = scale * audio.numpy() @ text.numpy().T
    pairs = range(len(scores))
    total = 0.0
    for i in pairs:
        if kind == "sigmoid":
            total -= math.log(1 / (1 + math.exp(-scores[i, i] - bias)))
            total -= sum(math.log(1 / (1 + math.exp(scores[i, j] + bias))) for j in pairs if negatives[i, j])
            continue
        itself = [i] if kind == "softmax" else []
        row = [math.exp(scores[i, j]) for j in pairs if negatives[i, j] or j in itself]
        column = [math.exp(scores[j, i]) for j in pairs if negatives[j, i] or j in itself]
        total += -scores[i, i] + 0.5 * sum(math.log(sum(side)) for side in (row, column) if side)
    return total / len(scores)


@pytest.mark.parametrize("share_of_negatives", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_equals_its_definition(kind, share_of_negatives):
    audio, text, negatives = unit_rows(6, 1), unit_rows(6, 2), mask(6, share_of_negatives)
    loss = contrastive_loss(audio, text, torch.tensor(10.0), negatives, **options(kind, bias=-3.0))
    assert float(loss) == pytest.approx(by_loops(audio, text, 10.0, negatives, kind, -3.0), abs=EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_a_text_change_nothing(kind):
    """The loss of four pairs among six rows is that of the four alone."""
    audio, text, negatives = unit_rows(6, 1), unit_rows(6, 2), mask(6, 0.7)
    paired = torch.tensor([True, False, True, True, False, True])
    loss = contrastive_loss(audio, text, torch.tensor(10.0), negatives, **options(kind), paired=paired)
    alone = contrastive_loss(
        audio[paired], text[paired], torch.tensor(10.0), negatives[paired][:, paired], **options(kind)
    )
    assert float(loss) == pytest.approx(float(alone), abs=EXACT)
    none = contrastive_loss(audio, text, torch.tensor(10.0), negatives, **options(kind), paired=paired & False)
    assert float(none) == 0.0


def test_what_is_taught_costs_the_square_of_its_difference():
    audio, words = unit_rows(3, 1), unit_rows(4, 2)
    cosines = audio @ words.T
    taught = torch.zeros(3, 4, dtype=torch.bool)
    taught[0, :2] = taught[2, 1] = True
    assert float(distillation_loss(audio, words, cosines, taught)) == 0.0
    changed = cosines.clone()
    changed[0, 1] += 0.2
    changed[1] += 9.0  # is not taught
    assert float(distillation_loss(audio, words, changed, taught)) == pytest.approx(
        DISTILLED_SCALE**2 * 0.04 / 3, abs=EXACT
    )
    assert float(distillation_loss(audio, words, changed, taught & False)) == 0.0
    with pytest.raises(ValueError, match=r"taught: \[3, 3\]; must cover the whole batch and all words, \[3, 4\]"):
        distillation_loss(audio, words, cosines, taught[:, :3])


def test_losses_of_two_opposite_pairs_are_what_a_reader_computes_by_hand():
    """s_ii = 2 and s_ij = -2, so a side of the decoupled loss is -2, of the softmax log(e^2 + e^-2)."""
    rows, negatives = torch.tensor([[1.0], [-1.0]]), mask(2, 1.0)
    scale = torch.tensor(2.0)
    by_hand = {
        "decoupled": -2.0 - 2.0,
        "softmax": -2.0 + math.log(math.e**2 + math.e**-2),
        "sigmoid": math.log(1 + math.e**-1) + math.log(1 + math.e**-3),  # logits 2 - 1 and -(-2 - 1)
    }
    for kind, expected in by_hand.items():
        loss = contrastive_loss(rows, rows, scale, negatives, **options(kind, bias=-1.0))
        assert float(loss) == pytest.approx(expected, abs=1e-6)  # float32


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_with_every_other_pair_a_negative_it_is_open_clips_loss(kind):
    from open_clip.loss import ClipLoss, SigLipLoss

    audio, text = unit_rows(6, 1).requires_grad_(), unit_rows(6, 2)
    scale = torch.tensor(10.0, dtype=torch.float64, requires_grad=True)
    ours = contrastive_loss(audio, text, scale, mask(6, 1.0), **options(kind))
    if kind == "softmax":
        theirs = ClipLoss()(audio, text, scale)
    else:
        theirs = SigLipLoss()(audio, text, scale, torch.tensor(INITIAL_BIAS))
    assert ours.item() == pytest.approx(theirs.item(), abs=EXACT)
    for gradient, expected in zip(*(torch.autograd.grad(loss, (audio, scale)) for loss in (ours, theirs)), strict=True):
        np.testing.assert_allclose(gradient, expected, atol=EXACT)


@pytest.mark.parametrize("share_of_negatives", [1.0, 0.0])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_are_finite_where_scores_are_extreme(kind, share_of_negatives):
    audio, text = unit_rows(4, 1).float(), unit_rows(4, 1).float()
    audio[1] = -text[1]  # a pair as wrong as can be
    negatives = mask(4, share_of_negatives)
    negatives[0] = False  # nothing is a negative of clip 0
    for scale in (MAX_LOGIT_SCALE, 1e6):
        leaves = [audio.clone().requires_grad_(), text.clone().requires_grad_(), torch.tensor(scale).requires_grad_()]
        loss = contrastive_loss(*leaves, negatives, **options(kind))
        loss.backward()
        assert loss.isfinite()
        assert all(leaf.grad.isfinite().all() for leaf in leaves)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_that_is_no_negative_is_not_pushed_apart(kind):
    """Moving clip 0 changes the gradient of text 2, and of text 1 only where clip 0 is a negative of it."""
    text = unit_rows(3, 2).requires_grad_()
    negatives = mask(3, 1.0)
    negatives[0, 1] = False
    audio = unit_rows(3, 1)
    moved = audio.clone()
    moved[0] = torch.nn.functional.normalize(torch.ones(5, dtype=torch.float64), dim=0)
    before, after = (
        torch.autograd.grad(contrastive_loss(rows, text, torch.tensor(5.0), negatives, **options(kind)), text)[0]
        for rows in (audio, moved)
    )
    assert torch.allclose(before[1], after[1])
    assert not torch.allclose(before[2], after[2])


@pytest.mark.parametrize(("kind", "bias"), [("decoupled", torch.tensor(0.0)), ("sigmoid", None)])
def test_a_bias_that_is_missing_or_superfluous_is_refused(kind, bias):
    with pytest.raises(ValueError, match=f"kind '{kind}'; 'sigmoid' needs one, the others have none"):
        contrastive_loss(unit_rows(2, 1), unit_rows(2, 2), torch.tensor(1.0), mask(2, 1.0), kind=kind, bias=bias)


def test_a_mask_of_another_batch_is_refused():
    with pytest.raises(ValueError, match=r"negatives: \[3, 3\]; must cover the whole batch, \[2, 2\]"):
        contrastive_loss(unit_rows(2, 1), unit_rows(2, 2), torch.tensor(1.0), mask(3, 1.0), kind="decoupled")


NOT, UNKNOWN = float("-inf"), float("nan")


def divergence_by_loops(logits: np.ndarray, scores: np.ndarray) -> float:
    total = 0.0
    for row, wanted in zip(logits, scores, strict=True):
        known = [j for j in range(len(row)) if not math.isnan(wanted[j])]
        if not any(wanted[j] > NOT for j in known):
            continue
        of_wanted = sum(math.exp(wanted[j] / TAG_SOFTNESS) for j in known)
        of_found = sum(math.exp(row[j]) for j in known)
        for j in known:
            if wanted[j] > NOT:
                p = math.exp(wanted[j] / TAG_SOFTNESS) / of_wanted
                total += p * (math.log(p) - row[j] + math.log(of_found))
    return total / len(logits)


def test_tag_loss_equals_its_definition_in_both_directions():
    audio, words = unit_rows(4, 1), unit_rows(3, 2)
    scores = torch.tensor(
        [[2.0, NOT, NOT], [0.3, -1.2, 1.1], [UNKNOWN, 2.0, NOT], [UNKNOWN, NOT, NOT]], dtype=torch.float64
    )
    logits = 7.0 * (audio @ words.T).numpy()
    by_hand = 0.5 * (divergence_by_loops(logits, scores.numpy()) + divergence_by_loops(logits.T, scores.numpy().T))
    assert float(tag_loss(audio, words, torch.tensor(7.0), scores)) == pytest.approx(by_hand, abs=EXACT)


def test_tag_loss_is_nothing_where_cosines_have_the_degrees_that_the_scores_have():
    words, audio = torch.eye(2), torch.tensor([[0.6, 0.8]])
    scores = TAG_SOFTNESS * 5.0 * audio
    assert float(tag_loss(audio, words, torch.tensor(5.0), scores)) == pytest.approx(0.0, abs=1e-6)  # float32


def test_tag_loss_and_its_gradient_are_finite_where_nothing_is_known_or_all_is_false():
    audio, words = unit_rows(3, 1).float().requires_grad_(), unit_rows(2, 2).float().requires_grad_()
    scores = torch.tensor([[UNKNOWN, UNKNOWN], [NOT, NOT], [NOT, UNKNOWN]])
    loss = tag_loss(audio, words, torch.tensor(MAX_LOGIT_SCALE), scores)
    loss.backward()
    assert loss.item() == 0.0
    assert audio.grad.isfinite().all()
    assert words.grad.isfinite().all()


def test_scores_of_another_batch_or_of_other_words_are_refused():
    with pytest.raises(ValueError, match=r"scores: \[3, 2\]; must cover the whole batch and all words, \[4, 2\]"):
        tag_loss(unit_rows(4, 1), unit_rows(2, 2), torch.tensor(1.0), torch.zeros(3, 2))


def test_among_what_a_teacher_doubts_its_degrees_are_learned_too():
    audio, words = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    tag_loss(audio, words, torch.tensor(1.0), torch.tensor([[-1.5, -2.5]])).backward()
    assert words.grad[0, 0] < 0 < words.grad[1, 0]  # the less doubted word is drawn nearer


def test_a_phrase_of_one_meaning_is_drawn_to_it_and_from_what_it_denies():
    phrases, words = unit_rows(1, seed=0), unit_rows(3, seed=1)
    phrases.requires_grad_()
    scores = torch.tensor([[2.0, -2.0, -math.inf]], dtype=torch.float64)

    loss = glossary_loss(phrases, words, torch.tensor(10.0), scores)

    wanted = [1 / (1 + math.exp(-4 / TAG_SOFTNESS)), 1 / (1 + math.exp(4 / TAG_SOFTNESS))]
    found = (10 * phrases @ words.T)[0].softmax(dim=0).tolist()
    by_hand = sum(p * math.log(p / q) for p, q in zip(wanted, found[:2], strict=True))
    assert loss.item() == pytest.approx(by_hand, abs=EXACT)
    loss.backward()
    moved = torch.nn.functional.normalize(phrases - 0.01 * phrases.grad, dim=1).detach() @ words.T
    assert moved[0, 0] > (phrases @ words.T)[0, 0]
    assert moved[0, 2] < (phrases @ words.T)[0, 2]


def test_scores_of_other_phrases_or_words_are_refused():
    with pytest.raises(ValueError, match=r"scores: \[2, 3\]; must be \[1, 3\], phrases by words"):
        glossary_loss(unit_rows(1, seed=0), unit_rows(3, seed=1), torch.tensor(10.0), torch.zeros(2, 3))
