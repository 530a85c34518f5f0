"""What the migration says when it cannot go on."""

from __future__ import annotations

import apsw

__all__ = ["MigrationError", "sqlite_says"]


class MigrationError(Exception):
    """One sentence for the operator; `definite` says that nothing was changed."""

    def __init__(self, code: str, text: str, *, definite: bool = True) -> None:
        """`code` is a stable slug for programs, `text` names the file and the way out."""
        super().__init__(text)
        self.code = code
        self.text = text
        self.definite = definite


_SAYS_NOTHING = ("", "not an error", "unknown error")
_WORDS: dict[type[apsw.Error], str] = {
    apsw.FullError: "the disk is full",
    apsw.IOError: "the disk fails",
    apsw.CorruptError: "the database is damaged",
    apsw.NotADBError: "the file is no database",
    apsw.BusyError: "another process keeps the database locked",
    apsw.LockedError: "another connection keeps a table locked",
    apsw.ReadOnlyError: "the database may only be read",
    apsw.CantOpenError: "the file cannot be opened",
    apsw.PermissionsError: "access is not permitted",
    apsw.NoMemError: "there is not enough memory",
}


def sqlite_says(error: apsw.Error) -> str:
    """Return what SQLite says, by the kind of the error where its text says nothing.

    A backup's error has the text of a connection to which nothing happened.
    """
    text = str(error)
    if text.strip() in _SAYS_NOTHING or isinstance(error, apsw.FullError):
        return _WORDS.get(type(error), type(error).__name__)
    return text
