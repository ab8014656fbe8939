"""Texts to token ids, read straight from a tokenizer.json so that no library version can rebuild it differently."""

import warnings
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor


class TruncatedTextWarning(UserWarning):
    """A text has more tokens than its model can read; its end was left out."""


class TextTokenizer:
    """Turns texts into the ids that one text backbone was trained on.

    Whatever truncation or padding tokenizer.json asks for is replaced by the backbone's own limit and padding to the
    longest text of a batch.
    """

    def __init__(self, tokenizer_json: str, *, max_tokens: int, pad_token_id: int) -> None:
        self.tokenizer_json = tokenizer_json
        self.max_tokens = max_tokens
        self._pad_token_id = pad_token_id
        self._whole = Tokenizer.from_str(tokenizer_json)
        self._whole.no_padding()
        self._whole.no_truncation()
        # Cutting the ids ourselves would lose the closing token; a truncating tokenizer keeps it.
        self._cut = Tokenizer.from_str(tokenizer_json)
        self._cut.no_padding()
        self._cut.enable_truncation(max_tokens)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Turn each text into its token ids, special tokens included.

        Warns:
            TruncatedTextWarning: a text is over the limit; the message gives its position.

        Raises:
            TypeError: texts is one str, or holds something else than str.
            ValueError: a text is blank; the message gives its position.
        """
        check_texts(texts)
        rows = []
        for position, text in enumerate(texts):
            ids = self._whole.encode(text).ids
            if len(ids) > self.max_tokens:
                warnings.warn(
                    f"text {position}: {len(ids)} tokens; the model reads {self.max_tokens}, its end is left out",
                    TruncatedTextWarning,
                    stacklevel=4,  # the caller of the encoder's encode_text, which calls its towers
                )
                ids = self._cut.encode(text).ids
            rows.append(ids)
        return rows

    def pad(self, rows: Sequence[Sequence[int]], *, width: int | None = None) -> tuple[Tensor, Tensor]:
        """Stack rows of ids as int64 [n, t] beside their mask bool [n, t], true where text is.

        Args:
            width: t, at least as long as the longest row; without it, just as long.
        """
        width = width or max(map(len, rows), default=0)
        ids = torch.full((len(rows), width), self._pad_token_id, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.bool)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = True
        return ids, mask


def check_texts(texts: Sequence[str]) -> None:
    """Refuse what is no list of texts.

    Raises:
        TypeError: texts is one str, or holds something else than str.
        ValueError: a text is blank; the message gives its position.
    """
    if isinstance(texts, str):
        raise TypeError("texts: found one str; give a sequence of texts, as in [text]")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {position}: found {type(text).__name__}; need str")
        if not text.strip():
            raise ValueError(f"text {position}: blank; need at least one visible character")
