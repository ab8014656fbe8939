"""How figures are called, the same in tables and pictures, and beside what others have published."""

from collections.abc import Mapping

TAGGING: Mapping[str, str] = {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC"}
RETRIEVAL: Mapping[str, str] = {
    "r_at_1": "R@1",
    "r_at_5": "R@5",
    "r_at_10": "R@10",
    "map_at_10": "mAP@10",
    "mrr": "MRR",
}
DIRECTIONS: Mapping[str, str] = {"text_to_audio": "text to audio", "audio_to_text": "audio to text"}
