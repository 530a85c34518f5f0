"""What can go wrong that is not a finding about the candidate.

A candidate's fault is a `harness.model.Finding`. What is raised instead is here: bad
arguments and files of the user (`BadInputError`), an environment that does not let the
harness work (`EnvironmentFaultError`), and a bug of the harness itself (`InvariantError`).
"""

from enum import IntEnum

__all__ = [
    "BadInputError",
    "EnvironmentFaultError",
    "ExitCode",
    "HarnessError",
    "InvariantError",
]


class ExitCode(IntEnum):
    """The exit codes of every `harness` command."""

    VALID = 0
    INVALID = 1
    UNKNOWN = 2
    BAD_INPUT = 254
    BROKEN = 255


class HarnessError(Exception):
    """One sentence for a person: what is wrong, where, and the way out."""

    exit_code = ExitCode.BROKEN


class BadInputError(HarnessError):
    """An argument or a file of the user's cannot be used; nothing was changed."""

    exit_code = ExitCode.BAD_INPUT


class EnvironmentFaultError(HarnessError):
    """The machine denies what the harness needs: a lock, space, a program; nothing was lost."""

    exit_code = ExitCode.BAD_INPUT


class InvariantError(HarnessError):
    """The harness contradicts itself: a bug to report, never the user's fault."""

    exit_code = ExitCode.BROKEN
