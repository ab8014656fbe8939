"""Where the music of a training came from, counted: written beside a model, so that its owner can answer for it."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from data.files import write_json_aside
from data.manifest import Track

PROVENANCE_FILE = "training.json"
_PACKAGE = ("package", "version", "licence")


def provenance(tracks: Iterable[Track]) -> dict[str, object]:
    """What tracks of the splits "train" and "valid" say of their origin, as JSON.

    Returns:
        how many tracks there are and, where their lengths are known, hours; tracks by Debian package, with its version
        and licence, and by the soundfont that a render was played with (arrangements have both); how many say neither;
        and whose pseudo-labels are among them.
    """
    heard = [track for track in tracks if track.split != "heldout"]
    of_packages = [track for track in heard if "package" in track.facts]
    packages = Counter(tuple(str(track.facts.get(key, "")) for key in _PACKAGE) for track in of_packages)
    soundfonts = [str(track.facts["soundfont"]) for track in heard if "soundfont" in track.facts]
    of_neither = sum("package" not in track.facts and "soundfont" not in track.facts for track in heard)
    teachers = {str(track.facts["pseudo_labels_of"]) for track in heard if "pseudo_labels_of" in track.facts}
    return {
        "tracks": len(heard),
        "hours": round(sum(track.length or 0.0 for track in heard) / 3600, 2),
        "packages": [
            {**dict(zip(_PACKAGE, named, strict=True)), "tracks": count} for named, count in sorted(packages.items())
        ],
        "soundfonts": dict(sorted(Counter(soundfonts).items())),
        "of_other_origin": of_neither,
        "pseudo_labels_of": sorted(teachers),
    }


def write_provenance(folder: Path, tracks: Sequence[Track], *, start: tuple[str, Path] | None = None) -> None:
    """Write it into a model's folder.

    Args:
        start: name and folder of the model that the training went on from; what that learned from is written, too, or
            that it does not say.
    """
    facts = provenance(tracks)
    if start:
        name, before = start
        try:
            earlier = json.loads((before / PROVENANCE_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            earlier = "not stated"
        facts["started_from"] = {"model": name, "training": earlier}
    write_json_aside(folder / PROVENANCE_FILE, facts)
