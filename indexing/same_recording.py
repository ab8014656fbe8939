"""When two tracks are taken for one recording: for `--unique` in search, for duplicates, and for playlists."""

import numpy as np
import numpy.typing as npt

SAME_RECORDING = 0.995
"""Cosine of whole-track vectors from which two tracks of alike length are taken for one recording.

It is high, so that answers lose no other music, at the price that some copies are told apart. Copies of a recording
in another encoding lie above it as a rule. Another level, cut or master lies below, the further the more the model
hears of it. Different short pieces for one instrument can lie above: of lengths too, then, nothing tells them apart.

Measured with the first mulan-mini, before lengths are compared: of 88 real recordings, cut to 60 s, 82 are as near to
their MP3s and 2 to themselves at half the level, and so are 2 of 3,828 pairs, of which one was the same piece in two
packages. Of 54 composed clips of 15 s it is 52, 9, and 7 of 1,431 pairs.
"""

# Encoders pad, and copies are cut differently at their ends: lengths are alike within the larger of the two.
_SECONDS_APART, _SHARE_APART = 2.0, 0.01

Numbers = npt.NDArray[np.float64]


def longest_alike(seconds: npt.ArrayLike) -> Numbers:
    """The greatest length that a track may have to be of alike length with a shorter one; any shape."""
    lengths = np.asarray(seconds, np.float64)
    longest: Numbers = np.maximum(lengths + _SECONDS_APART, lengths / (1 - _SHARE_APART))
    return longest


def is_same_recording(
    cosines: npt.ArrayLike, seconds: npt.ArrayLike, others: npt.ArrayLike, *, threshold: float = SAME_RECORDING
) -> npt.NDArray[np.bool_]:
    """Whether pairs of tracks are taken for one recording: bool, of the shape that the arguments broadcast to.

    Args:
        cosines: of the tracks' vectors, each the direction of the mean of its windows.
        seconds: lengths of the one track.
        others: lengths of the other.
        threshold: above 1, no two are.
    """
    are_alike = np.maximum(seconds, others) <= longest_alike(np.minimum(seconds, others))
    return (np.asarray(cosines) >= threshold) & are_alike
