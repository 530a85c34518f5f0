"""What the migration says when it cannot go on."""

__all__ = ["MigrationError"]


class MigrationError(Exception):
    """One sentence for the operator; `definite` says that nothing was changed."""

    def __init__(self, code: str, text: str, *, definite: bool = True) -> None:
        """`code` is a stable slug for programs, `text` names the file and the way out."""
        super().__init__(text)
        self.code = code
        self.text = text
        self.definite = definite
