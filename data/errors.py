"""What can go wrong for a user of mulan.

MulanError
├── AudioError        a file or waveform cannot be used as audio
├── ManifestError     a manifest of tracks is malformed or names what is not there
├── ConfigError       a configuration has an unknown key, a missing key or a value out of range
├── CheckpointError   model weights or their configuration are missing, damaged or not what they claim
├── StoreError        an index folder is missing, damaged, locked or belongs to another model
└── QueryError        a query is malformed, too large or asks for nothing

Every message is one line: what, where, found, allowed, remedy. They live in the lowest layer because it raises too;
`mulan` re-exports them.
"""


class MulanError(Exception):
    """Base of every error that a user of mulan can meet; the command line prints it as one line."""


class AudioError(MulanError):
    """A file or waveform cannot be used as audio."""


class ManifestError(MulanError):
    """A manifest of tracks is malformed or names what is not there."""


class ConfigError(MulanError):
    """A configuration has an unknown key, a missing key or a value out of range."""


class CheckpointError(MulanError):
    """Model weights or their configuration are missing, damaged or not what they claim."""


class StoreError(MulanError):
    """An index folder is missing, damaged, locked or belongs to another model."""


class QueryError(MulanError):
    """A query is malformed, too large or asks for nothing.

    Attributes:
        column: where, from 1; None if it is not at one place. The message begins with it.
        query: the whole query, blank if it is not known.
    """

    def __init__(self, message: str, *, column: int | None = None, query: str = "") -> None:
        super().__init__(message if column is None else f"column {column}: {message}")
        self.column, self.query = column, query

    @property
    def caret(self) -> str:
        """For a terminal: some 70 characters of the query, and a caret below the column; blank without either."""
        if self.column is None or not self.query:
            return ""
        first = max(0, self.column - 50)
        line = "".join(char if char.isprintable() else " " for char in self.query[first : first + 70])
        return f"{line}\n{' ' * (self.column - 1 - first)}^"
