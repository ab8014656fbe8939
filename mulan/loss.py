"""The contrastive loss that pulls a caption to its music and pushes it from other music."""

import torch

Tensor = torch.Tensor

MAX_LOGIT_SCALE = 100.0  # CLIP's clamp, arXiv:2103.00020 §2.5: keeps training stable


def decoupled_contrastive_loss(audio: Tensor, text: Tensor, scale: Tensor, negatives: Tensor) -> Tensor:
    """Mean over pairs of `-s_ii + (logsumexp over negatives of row i + of column i) / 2`, s = scale * cosine.

    Args:
        audio: unit float32 [b, d].
        text: unit float32 [b, d]; row i describes audio row i.
        scale: scalar, the inverse temperature.
        negatives: bool [b, b], True where text j is no true description of audio i; its diagonal is False.

    A pair without any negative contributes 0 on that side. Softmaxes are computed by logsumexp, so any scale
    gives a finite loss.

    Relations: CLIP's loss keeps the positive pair in the denominator; decoupling (arXiv:2110.06848) drops it,
    which matters for small batches. MuQ-MuLan (arXiv:2501.01108, recipe `RankSoftmaxContrastiveLearning`)
    uses every other item of the batch as a negative: `negatives = ~torch.eye(b, dtype=bool)`.
    """
    similarity = scale * (audio @ text.T)
    masked = similarity.masked_fill(~negatives, float("-inf"))
    by_row, by_column = (_logsumexp_or_zero(masked, dim=dim) for dim in (1, 0))
    return (-similarity.diagonal() + 0.5 * (by_row + by_column)).mean()


def _logsumexp_or_zero(masked: Tensor, *, dim: int) -> Tensor:
    has_any = masked.isfinite().any(dim=dim)
    safe = torch.where(has_any.unsqueeze(dim), masked, torch.zeros_like(masked))
    return torch.where(has_any, safe.logsumexp(dim=dim), torch.zeros_like(safe.sum(dim=dim)))
