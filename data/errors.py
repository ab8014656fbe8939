"""What can go wrong for a user of mulan.

MulanError
├── AudioError        a file or waveform cannot be used as audio
├── ManifestError     a manifest of tracks is malformed or names what is not there
├── ConfigError       a configuration has an unknown key, a missing key or a value out of range
├── CheckpointError   model weights or their configuration are missing, damaged or not what they claim
└── StoreError        an index folder is missing, damaged, locked or belongs to another model

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
