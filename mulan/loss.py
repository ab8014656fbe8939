"""The contrastive losses that pull a caption to its music and push it from other music, over all processes."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from mulan.distributed import current_share, gather_rows

LossKind = Literal["decoupled", "softmax", "sigmoid"]

TAG_SOFTNESS = 0.5  # standard deviations of a teacher's score that count as one logit

DISTILLED_SCALE = 30.0  # what cosines that are to stay are multiplied by: a scale as training reaches

MAX_LOGIT_SCALE = 100.0  # CLIP's clamp, arXiv:2103.00020 §2.5: keeps training stable
INITIAL_BIAS = -10.0  # SigLIP's, arXiv:2303.15343 §3.2: nearly all pairs are negatives, so start by doubting each


def contrastive_loss(
    audio: Tensor,
    text: Tensor,
    scale: Tensor,
    negatives: Tensor,
    *,
    kind: LossKind,
    bias: Tensor | None = None,
    paired: Tensor | None = None,
) -> Tensor:
    """This process's share of the loss: the mean over processes is the loss of the whole batch.

    With s = scale * cosine, N the number of pairs of the whole batch, and sums over true negatives only:

    - "decoupled": mean over pairs i of `-s_ii + (log sum_j exp s_ij + log sum_j exp s_ji) / 2`. A pair without any
      negative contributes 0 on that side. Decoupling (arXiv:2110.06848) drops the positive pair from the denominators
      of CLIP's loss, which matters for small batches. MuQ-MuLan (arXiv:2501.01108, recipe
      `RankSoftmaxContrastiveLearning`) uses every other item of the batch as a negative.
    - "softmax": the same with `exp s_ii` in both sums, as CLIP, arXiv:2103.00020.
    - "sigmoid": `-(log sigmoid(s_ii + bias) + sum_j log sigmoid(-s_ij - bias))`, mean over i, as SigLIP,
      arXiv:2303.15343. Of the order of N times as many terms: its learning rate is another.

    With `negatives = ~torch.eye(N, dtype=bool)` the last two are open_clip's ClipLoss and SigLipLoss. Those are not
    called, since they know no mask: they would push a caption from music that it describes as well. Softmaxes are
    computed by logsumexp, sigmoids by logsigmoid, so any scale gives a finite loss. A process holds matrices of
    [b, N], never [N, N], and the gradient reaches the rows of other processes (see `mulan.distributed`).

    Args:
        audio: unit float32 [b, d], the rows of this process; b is the same for all.
        text: unit float32 [b, d]; row i describes audio row i.
        scale: scalar, the inverse temperature.
        negatives: bool [N, N] of the whole batch, True where text j is no true description of audio i; its diagonal
            is False.
        bias: scalar, added to every s; for "sigmoid", and only there.
        paired: bool [N], where rows are pairs; the others, of clips without a text, have no part in the loss. By
            default all are.

    Raises:
        ValueError: `negatives` is not of the whole batch, or a bias is missing or superfluous.
    """
    pairs = len(audio) * current_share().world
    if negatives.shape != (pairs, pairs):
        raise ValueError(f"negatives: {list(negatives.shape)}; must cover the whole batch, {[pairs, pairs]}")
    if (bias is not None) != (kind == "sigmoid"):
        raise ValueError(f"bias: {bias} for kind {kind!r}; 'sigmoid' needs one, the others have none")
    first = current_share().rank * len(audio)  # the number, in the whole batch, of this process's first pair
    mine = slice(first, first + len(audio))
    if paired is None:
        paired = torch.ones(pairs, dtype=torch.bool, device=audio.device)
    negatives = negatives & paired & paired[:, None]
    share = paired[mine].to(audio) * pairs / (len(audio) * paired.sum().clamp(min=1))  # of each row in the mean
    to_texts = scale * (audio @ gather_rows(text).T)  # [b, N]
    if bias is not None:
        return (share * _sigmoid_losses(to_texts + bias, negatives[mine], first)).sum()
    to_audio = scale * (text @ gather_rows(audio).T)
    summed = negatives if kind == "decoupled" else negatives | torch.eye(pairs, dtype=torch.bool, device=text.device)
    denominators = _logsumexp_or_zero(to_texts, summed[mine]) + _logsumexp_or_zero(to_audio, summed[:, mine].T)
    return (share * (0.5 * denominators - to_texts.diagonal(first))).sum()


def tag_loss(audio: Tensor, words: Tensor, scale: Tensor, scores: Tensor) -> Tensor:
    """This process's share of a loss of single words; the mean over processes is the loss of the whole batch.

    With s = scale * cosine and, over what is known, q = softmax(scores / `TAG_SOFTNESS`): the mean over clips of
    KL(q || softmax s) among the words, and the mean over words of the same among the clips of the whole batch; half of
    each. A teacher's opinion is thus matched in its degrees, also among words that it doubts, and where several are
    plainly true they share the probability. What is false or not known of all contributes 0. Words are computed in full
    by every process.

    Source: ours; it is the cross-entropy of distillation, arXiv:1503.02531, in both directions of CLIP's loss.

    Args:
        audio: unit float32 [b, d], the rows of this process; b is the same for all.
        words: unit float32 [w, d], the same words for all processes.
        scale: scalar, the inverse temperature.
        scores: float32 [N, w] of the whole batch: how true a word is, in standard deviations; -inf where it is false,
            NaN where that is not known.

    Raises:
        ValueError: `scores` are not those of the whole batch and these words.
    """
    by_clip = _divergence(scale * (audio @ words.T), _own_rows(scores, audio, words, name="scores"))
    by_word = _divergence(scale * (words @ gather_rows(audio).T), scores.T)
    return 0.5 * (by_clip + by_word)


def glossary_loss(phrases: Tensor, words: Tensor, scale: Tensor, scores: Tensor) -> Tensor:
    """The loss of phrases that mean words: the mean over phrases of KL(softmax(scores / `TAG_SOFTNESS`) || softmax s).

    s = scale * cosine. Texts need no audio, so every process computes all of it. Source: ours, as `tag_loss`.

    Args:
        phrases: unit float32 [p, d].
        words: unit float32 [w, d].
        scale: scalar, the inverse temperature.
        scores: float32 [p, w], how much a phrase means a word, see `data.glossary`; -inf where it does not.

    Raises:
        ValueError: `scores` are not those of these phrases and words.
    """
    if list(scores.shape) != [len(phrases), len(words)]:
        raise ValueError(f"scores: {list(scores.shape)}; must be [{len(phrases)}, {len(words)}], phrases by words")
    return _divergence(scale * (phrases @ words.T), scores)


def distillation_loss(audio: Tensor, words: Tensor, cosines: Tensor, taught: Tensor) -> Tensor:
    """This process's share of the loss against a teacher's cosines; the mean over processes is that of the batch.

    The mean of the squared difference over what is taught of the whole batch, times `DISTILLED_SCALE` squared. Not of
    logits, whose scale goes on growing where other pairs are learnt.

    Source: ours; after Learning without Forgetting, arXiv:1606.09282, whose targets are probabilities.

    Args:
        audio: unit float32 [b, d], the rows of this process; b is the same for all.
        words: unit float32 [w, d], the same words for all processes.
        cosines: float32 [b, w], those wanted: the teacher's, as they are or standardised.
        taught: bool [N, w] of the whole batch, which of them count.

    Raises:
        ValueError: `taught` is not of the whole batch and these words.
    """
    mine = _own_rows(taught, audio, words, name="taught")
    differences = torch.where(mine, audio @ words.T - cosines, 0.0)
    return DISTILLED_SCALE**2 * current_share().world * differences.square().sum() / taught.sum().clamp(min=1)


def _own_rows(whole: Tensor, audio: Tensor, words: Tensor, *, name: str) -> Tensor:
    """This process's rows, [b, w], of what is said of the clips of the whole batch and of all words.

    Raises:
        ValueError: it is of others.
    """
    wanted = [len(audio) * current_share().world, len(words)]
    if list(whole.shape) != wanted:
        raise ValueError(f"{name}: {list(whole.shape)}; must cover the whole batch and all words, {wanted}")
    first = current_share().rank * len(audio)
    return whole[first : first + len(audio)]


def _divergence(logits: Tensor, scores: Tensor) -> Tensor:
    """Mean over rows of KL(softmax of scores || softmax of logits), each over what is known; [n, m] both."""
    known = ~scores.isnan()
    wanted = torch.where(known, scores / TAG_SOFTNESS, float("-inf"))
    kept = (wanted > float("-inf")).any(dim=1)  # rows of -inf would have no softmax
    log_wanted = wanted[kept].log_softmax(dim=1)
    log_found = logits[kept].masked_fill(~known[kept], float("-inf")).log_softmax(dim=1)
    is_wanted = log_wanted > float("-inf")
    terms = torch.where(is_wanted, log_wanted.exp() * (log_wanted - log_found.masked_fill(~is_wanted, 0.0)), 0.0)
    return terms.sum() / max(len(logits), 1)


def _sigmoid_losses(logits: Tensor, negatives: Tensor, first: int) -> Tensor:
    """The loss of each row, [b], of logits [b, n] whose positive of row i is in column first + i."""
    pushed = torch.where(negatives, functional.logsigmoid(-logits), 0.0).sum(dim=1)
    return -(functional.logsigmoid(logits.diagonal(first)) + pushed)


def _logsumexp_or_zero(logits: Tensor, kept: Tensor) -> Tensor:
    """Logsumexp of each row over the columns kept; 0, and no gradient, for a row that keeps none."""
    has_any = kept.any(dim=1)
    masked = logits.masked_fill(~kept & has_any.unsqueeze(1), float("-inf"))
    return torch.where(has_any, masked.logsumexp(dim=1), 0.0)
