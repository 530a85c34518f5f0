"""How an image is declared in a manifest: what makes it, and how containers of it are run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import BadInputError
from harness.suggest import unknown_key

__all__ = ["Image", "read_image"]

_KEYS = ("make", "tree", "migrate", "serve", "only", "ports")
_SERVICE = "{service}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The image of a candidate, which migrates and serves what is mounted at `tree`.

    `make` is run in the folder of the `manifest` and prints the image's name last. `migrate` is
    what an operator calls, with `{tree}` and `{approval}` in it. `serve` runs the services on
    `ports` in the container: all of them, or with `only` behind it one.
    """

    manifest: Path
    make: tuple[str, ...]
    tree: str
    migrate: tuple[str, ...]
    serve: tuple[str, ...]
    only: tuple[str, ...]
    ports: Mapping[str, int]

    def migrating(self, approval: str) -> list[str]:
        """Return the command that migrates, with the folder `approval` in the container."""
        places = {"{tree}": self.tree, "{approval}": approval}
        return [_filled(word, places) for word in self.migrate]

    def serving(self, service: str | None = None) -> list[str]:
        """Return the command that serves one service, or all where it is None."""
        if service is None:
            return list(self.serve)
        return [*self.serve, *(word.replace(_SERVICE, service) for word in self.only)]


def _filled(word: str, places: Mapping[str, str]) -> str:
    for place, path in places.items():
        word = word.replace(place, path)
    return word


def read_image(
    given: Any, *, wrong: Callable[[str, str], BadInputError], manifest: Path
) -> Image | None:
    """Return what a manifest's key `image` declares, None where there is none.

    `wrong` makes the error from the name of a key and what is the matter with it.
    """
    if given is None:
        return None
    if not isinstance(given, dict):
        raise wrong("image", f"must be a mapping of the keys {', '.join(_KEYS)}")
    for key in given:
        if key not in _KEYS:
            raise wrong("image", f"has an {unknown_key(key, _KEYS)}")

    def words(key: str) -> tuple[str, ...]:
        value = given.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(w, str) for w in value):
            raise wrong(f"image.{key}", "must be a list of words, the program first")
        return tuple(value)

    tree, ports = given.get("tree"), given.get("ports")
    if not isinstance(tree, str) or not tree.startswith("/"):
        raise wrong("image.tree", f"is {tree!r}; it must be a path in the container")
    if not isinstance(ports, dict) or not all(isinstance(p, int) for p in ports.values()):
        raise wrong("image.ports", "must be a mapping of services to ports in the container")
    only = words("only")
    if not any(_SERVICE in word for word in only):
        raise wrong("image.only", f"has no {_SERVICE}: it says which one is served alone")
    return Image(
        manifest=manifest,
        make=words("make"),
        tree=tree,
        migrate=words("migrate"),
        serve=words("serve"),
        only=only,
        ports={str(name): port for name, port in ports.items()},
    )
