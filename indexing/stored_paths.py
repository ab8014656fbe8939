"""Paths as the catalogue keeps them: any file name as text that SQLite can hold."""

import re


def encoded(path: str) -> str:
    """A path as text that SQLite can hold."""
    return re.sub(r"[\\\udc80-\udcff]", lambda byte: f"\\u{ord(byte[0]):04x}" if byte[0] != "\\" else "\\\\", path)


def decoded(text: str) -> str:
    """The path that `encoded` was given."""
    if "\\" not in text:  # all but a few; this is called for every track of a library
        return text
    return re.sub(r"\\(?:\\|u(dc[89a-f][0-9a-f]))", lambda code: chr(int(code[1], 16)) if code[1] else "\\", text)
