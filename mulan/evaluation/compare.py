"""Whether one model is better than another, or their figures differ as chance would have it: a paired bootstrap."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import ManifestError
from mulan.evaluation import retrieval, tagging
from mulan.evaluation.bootstrap import interval, resample_weights
from mulan.evaluation.probe_tasks import task_of
from mulan.evaluation.record import read_result, read_witness

_SETTINGS = ("split", "prompts", "text_regime", "layer", "strength", "shots", "draws", "precision", "clips")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A figure of two results on the tracks that both used; `difference` is second minus first.

    `ci95` is the percentile interval of the difference when both are resampled alike; `is_clear`: 0 is not in it.
    """

    figure: str
    first: float
    second: float
    difference: float
    ci95: tuple[float, float]

    @property
    def is_clear(self) -> bool:
        """Whether chance alone is an unlikely reason."""
        return not self.ci95[0] <= 0 <= self.ci95[1]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two results side by side.

    Attributes:
        settings: what the two were made with, by name: first and second, where they differ.
        differences: of the main figures.
        per_tag: of each tag, if there are any.
    """

    first: str
    second: str
    settings: Mapping[str, tuple[Any, Any]]
    dataset: str
    tracks: int
    differences: tuple[Difference, ...]
    per_tag: tuple[Difference, ...]


def compare(first: Path, second: Path) -> Comparison:
    """Compare two results of the same evaluation.

    Raises:
        ManifestError: a file is no result, its scores are gone, or the two judge by different sets or truths.
    """
    results = [read_result(path) for path in (first, second)]
    for key, noun in (("task", "tasks"), ("dataset", "sets"), ("split_sha256", "tracks or truths")):
        if results[0][key] != results[1][key]:
            found = " and ".join(_named(result, key) for result in results)
            remedy = "cannot be compared; if they should be of the same, evaluate the older one again"
            raise ManifestError(f"{first}, {second}: are of different {noun} ({found}) and {remedy}")
    witnesses = [read_witness(path, result) for path, result in zip((first, second), results, strict=True)]
    build = {"tagging": compare_tagging, "retrieval": _compare_retrieval, "probe": _compare_probes}[results[0]["task"]]
    tracks, differences, per_tag = build(witnesses[0], witnesses[1])
    return Comparison(
        first=_title(results[0]),
        second=_title(results[1]),
        settings=_differing(results[0], results[1]),
        dataset=f"{results[0]['dataset']} {results[0]['split']}",
        tracks=tracks,
        differences=tuple(differences),
        per_tag=tuple(per_tag),
    )


_Arrays = Mapping[str, np.ndarray]


def compare_tagging(first: _Arrays, second: _Arrays) -> tuple[int, list[Difference], list[Difference]]:
    """How many tracks both used, differences of the averages, and of each label's ROC-AUC.

    Args:
        first, second: witnesses of tagging (`TaggingResult.witness`) of the same labels.

    Raises:
        ManifestError: the labels or the truths differ.
    """
    rows, other_rows, weights = _paired(first, second)
    is_exclusive = bool(first["is_exclusive"])
    truth = first["truth"][rows]
    _check_same(truth, second["truth"][other_rows])
    macros, tags = zip(
        *(
            tagging.draws_of(scores, truth, weights, is_exclusive=is_exclusive)
            for scores in (first["scores"][rows], second["scores"][other_rows])
        ),
        strict=True,
    )
    scored = ~np.isnan(tags[0]["roc_auc"][0])
    single = [
        _difference(label, tags[0]["roc_auc"][:, column], tags[1]["roc_auc"][:, column])
        for column, label in enumerate(first["labels"].tolist())
        if scored[column]
    ]
    return len(rows), [_difference(name, macros[0][name], macros[1][name]) for name in macros[0]], single


def _compare_probes(first: _Arrays, second: _Arrays) -> tuple[int, list[Difference], list[Difference]]:
    """Of few-shot probes the mean over draws; the interval knows nothing of other draws."""
    rows, other_rows, weights = _paired(first, second)
    _check_same(first["answers"][rows], second["answers"][other_rows])
    task = task_of(first["labels"].tolist(), is_exclusive=bool(first["is_exclusive"]))
    draws = [
        np.mean(
            [task.resample(outputs, arrays["answers"][chosen], weights) for outputs in arrays["outputs"][:, chosen]], 0
        )
        for arrays, chosen in ((first, rows), (second, other_rows))
    ]
    return len(rows), [_difference(task.main, draws[0], draws[1])], []


def _compare_retrieval(first: _Arrays, second: _Arrays) -> tuple[int, list[Difference], list[Difference]]:
    if sorted(first["track_ids"]) != sorted(second["track_ids"]):
        found = f"{len(first['track_ids'])} and {len(second['track_ids'])} tracks"
        raise ManifestError(f"the results rank different items ({found}): a rank depends on what else is ranked")
    differences = []
    for direction, keys in (("text_to_audio", ("captions", "ids")), ("audio_to_text", ("track_ids",))):
        orders = [np.lexsort([arrays[key] for key in keys]) for arrays in (first, second)]
        weights = _with_itself(resample_weights(first[keys[-1]][orders[0]].tolist()))
        draws = [
            retrieval.draws_of(_of(direction, arrays, order), weights)
            for arrays, order in zip((first, second), orders, strict=True)
        ]
        differences += [_difference(f"{direction} {name}", draws[0][name], draws[1][name]) for name in draws[0]]
    return len(first["track_ids"]), differences, []


def _of(direction: str, arrays: _Arrays, order: np.ndarray) -> dict[str, np.ndarray]:
    prefix = f"{direction} "
    return {name.removeprefix(prefix): values[order] for name, values in arrays.items() if name.startswith(prefix)}


def _check_same(truth: np.ndarray, other: np.ndarray) -> None:
    if not np.array_equal(truth, other, equal_nan=True):
        raise ManifestError("the results hold other truths of the same tracks and cannot be compared")


def _paired(first: _Arrays, second: _Arrays) -> tuple[list[int], list[int], np.ndarray]:
    """The places in both of the tracks that are in both, and the resamples that the two share."""
    if first["labels"].tolist() != second["labels"].tolist():
        raise ManifestError("the results have different labels and cannot be compared")
    place = {track: row for row, track in enumerate(second["ids"].tolist())}
    rows = [row for row, track in enumerate(first["ids"].tolist()) if track in place]
    weights = _with_itself(resample_weights(first["groups"][rows].tolist()))
    return rows, [place[first["ids"][row]] for row in rows], weights


def _with_itself(weights: np.ndarray) -> np.ndarray:
    """The same with, as row 0, every track once: the figures themselves."""
    return np.concatenate([np.ones((1, weights.shape[1]), np.float32), weights])


def _difference(figure: str, first: np.ndarray, second: np.ndarray) -> Difference:
    return Difference(
        figure=figure,
        first=float(first[0]),
        second=float(second[0]),
        difference=float(second[0] - first[0]),
        ci95=interval((second - first)[1:]),
    )


def _named(result: Mapping[str, Any], key: str) -> str:
    return f"{result['split']} {result[key][:8]}…" if key == "split_sha256" else str(result[key])


def _title(result: Mapping[str, Any]) -> str:
    return f"{result['model']} ({result['fingerprint'][:8]}, {result['precision']})"


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What decides a figure besides the model, where the two differ: prompts, layers, shots and the like."""
    settings = {}
    for name in _SETTINGS:
        pair = (first.get(name), second.get(name))
        if pair[0] != pair[1]:
            settings[name] = pair
    return settings
