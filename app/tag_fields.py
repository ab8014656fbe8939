"""The fields of a file's tags that can be written; apart from what writes them, so that `mulan --help` is instant."""

from enum import StrEnum


class Field(StrEnum):
    """What of a file's tags is written; see the table of `tag_write`."""

    GENRE = "genre"
    COMMENT = "comment"
    GROUPING = "grouping"
