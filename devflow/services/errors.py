"""What the services refuse, in sentences; `devflow.services.app` makes responses of them."""

from __future__ import annotations

__all__ = [
    "ConfigurationError",
    "ConflictError",
    "MissingError",
    "RefusedError",
    "UnavailableError",
]


class ConfigurationError(Exception):
    """The service cannot start as it is configured; the text names the place and the way out."""


class RefusedError(Exception):
    """A request that is understood and declined; nothing was changed."""

    status = 400


class MissingError(RefusedError):
    """The thing that a request names is not there."""

    status = 404


class ConflictError(RefusedError):
    """The request does not fit what is there: an identifier taken, a step out of order."""

    status = 409


class UnavailableError(RefusedError):
    """Something that the request needs does not answer now; it may be tried again."""

    status = 503
