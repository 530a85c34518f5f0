"""Invents operations on the legacy API, seeded: what a session asks next, from what it has written.

A key is written by one session only, in turn, so that its values have an order that nobody has to
guess; every session reads every key. Each value is written once, so that one lost, doubled or taken
from elsewhere can be told. After an indefinite answer the session leaves the key: no write follows
one of which nobody knows whether it is still to come.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote

from harness.errors import BadInputError
from harness.history import WRITES, Kind, told
from harness.suggest import unknown_key

__all__ = ["COLLECTIONS", "MIX", "Asked", "Collection", "Outcome", "Session", "Shared", "outcome"]

MIX: Final[Mapping[str, int]] = {
    "create": 4,
    "update": 4,
    "delete": 2,
    "read": 8,
    "list": 1,
    "search": 2,
}
"""How often each kind is drawn, beside the others."""

_WORDS: Final = (
    "cache", "cutover", "deploy", "index", "ledger", "migration", "provider", "queue", "replay",
    "schema", "session", "token", "trigger", "vector", "walrus", "über", "世界",
)  # fmt: skip
_OF_A_KEY: Final = ("read", "update", "delete")
_LIVE: Final = 40  # keys of a collection that a session keeps, so that lists stay of one length
_KEPT: Final = 400
_PAGE: Final = 20
_HITS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Things of one kind that a service keeps: how they are asked for, and where their value is.

    `weight` is how often it is drawn, `value` the field that holds the value, `rows` the one of a
    list. `updates` and `deletes` say whether the API has these; `finds` whether a search by the
    value's beginning must show the very row; `near` whether one by the value shows what is like it.
    """

    name: str
    service: str
    weight: int
    path: str
    value: str
    rows: str
    body: Mapping[str, Any]
    stored: str | None = None
    keyed: bool = True
    updates: bool = False
    deletes: bool = False
    finds: bool = False
    near: bool = False


COLLECTIONS: Final[tuple[Collection, ...]] = (
    Collection(
        name="task", service="database-manager", weight=6, path="/tasks", value="title",
        rows="tasks", body={"description": "made under load", "status": "in_progress"},
        updates=True, deletes=True,
    ),
    Collection(
        name="memory", service="database-manager", weight=5, path="/memory", value="content",
        rows="memories", body={"type": "note"}, deletes=True, finds=True,
    ),
    Collection(
        name="session", service="database-manager", weight=1, path="/sessions", value="context",
        rows="sessions", body={"name": "made under load"},
    ),
    Collection(
        name="usage", service="database-manager", weight=1, path="/usage", value="model",
        rows="usage", body={"provider": "load", "agent_type": "client", "duration_ms": 1},
        keyed=False,
    ),
    Collection(
        name="vector", service="vector-memory", weight=4, path="/memories", value="content",
        rows="memories", body={"type": "note"}, stored="/store", deletes=True, near=True,
    ),
    Collection(
        name="provider", service="model-registry", weight=1, path="/providers", value="name",
        rows="providers", body={}, stored="", keyed=False,
    ),
)  # fmt: skip


class Asked(NamedTuple):
    """One request, and what of it the history tells. `words` is the whole value that is sent."""

    collection: Collection
    kind: Kind
    method: str
    path: str
    body: bytes | None
    key: str | None
    words: str | None

    @property
    def value(self) -> str | None:
        """The value as the history tells it."""
        return None if self.words is None else told(self.words)


class Outcome(NamedTuple):
    """What came of a request, in the history's words."""

    type: Literal["ok", "fail", "info"]
    status: int | None = None
    error: str | None = None
    acknowledged: str | None = None
    saw: tuple[tuple[str, str | None], ...] = ()


class Thing(NamedTuple):
    """A key, its latest version and that version's whole value."""

    key: str
    version: int
    words: str


@dataclass(slots=True)
class Shared:
    """What the sessions of one load know of each other: the latest keys, to read them."""

    things: dict[str, deque[Thing]] = field(default_factory=dict)

    def add(self, collection: str, thing: Thing) -> None:
        """Remember a thing as one of the latest."""
        self.things.setdefault(collection, deque(maxlen=_KEPT)).append(thing)


class Session:
    """One client: it draws what to ask next, and remembers what it wrote.

    `services` are those that the load reaches, `mix` the weights of the kinds, `prefix` begins each
    key and so each value.
    """

    def __init__(
        self,
        number: int,
        *,
        seed: int,
        prefix: str,
        services: Iterable[str],
        shared: Shared,
        mix: Mapping[str, int] | None = None,
    ) -> None:
        """Nothing is asked yet. BadInputError where the mix or the services name what is not."""
        self.number = number
        self._random = random.Random(f"{seed} {number}")  # noqa: S311 - drawn again
        self._prefix, self._shared = prefix, shared
        self._mix = _checked_mix(mix)
        reached = _checked_services(services)
        self._collections = [each for each in COLLECTIONS if each.service in reached]
        self._weights = [each.weight for each in self._collections]
        self._live: dict[str, list[Thing]] = {each.name: [] for each in self._collections}
        self._left: dict[str, deque[Thing]] = {
            each.name: deque(maxlen=_LIVE) for each in self._collections
        }
        self._made = 0

    def next(self) -> Asked:
        """Draw the next request."""
        collection = self._random.choices(self._collections, self._weights)[0]
        kinds = self._kinds(collection)
        kind = self._random.choices(kinds, [self._mix[each] for each in kinds])[0]
        live = self._live[collection.name]
        if kind == "create" and len(live) >= _LIVE:
            kind = "delete"
        if kind in ("update", "delete") and not live:
            kind = "create"
        if kind == "create":
            return self._create(collection)
        if kind == "list":
            return Asked(collection, "list", "GET", _listing(collection), None, None, None)
        thing = self._drawn(collection, kind)
        return _of_key(collection, kind, thing, self._worded(thing.key, thing.version + 1))

    def settled(self, asked: Asked, came: Outcome) -> None:
        """Learn what came of a request that `next` drew."""
        if asked.kind not in WRITES or asked.key is None:
            return
        live = self._live[asked.collection.name]
        at = next((n for n, thing in enumerate(live) if thing.key == asked.key), None)
        before = None if at is None else live[at]
        version = 1 if before is None else before.version + 1
        thing = Thing(asked.key, version, asked.words or (before.words if before else ""))
        gone = came.type == "ok" and (asked.kind == "delete" or came.status == 404)
        if came.type == "info" or gone:
            if at is not None:
                live.pop(at)
            self._left[asked.collection.name].append(thing)
        elif came.type == "ok" or before is not None:
            # A refused update has used its version up, and left the words as they were.
            refused = before is not None and came.type == "fail"
            kept = before._replace(version=version) if refused and before else thing
            if at is None:
                if asked.collection.deletes:
                    live.append(kept)
            else:
                live[at] = kept
            if came.type == "ok":
                self._shared.add(asked.collection.name, kept)

    def _kinds(self, collection: Collection) -> list[Kind]:
        known = bool(self._live[collection.name] or self._shared.things.get(collection.name))
        able: dict[Kind, bool] = {
            "create": collection.stored != "",
            "update": collection.updates,
            "delete": collection.deletes,
            "read": collection.keyed and known,
            "list": True,
            "search": (collection.finds or collection.near) and known,
        }
        kinds = [kind for kind, can in able.items() if can and self._mix[kind]]
        return kinds or ["list"]

    def _drawn(self, collection: Collection, kind: Kind) -> Thing:
        """Draw a thing: of its own where it writes, else any, also such as it left or deleted."""
        own = self._live[collection.name]
        if kind in WRITES:
            return self._random.choice(own)
        pools: list[tuple[Sequence[Thing], int]] = [
            (own, 4),
            (self._shared.things.get(collection.name, ()), 4),
            (self._left[collection.name] if kind == "read" else (), 1),
        ]
        filled = [(pool, weight) for pool, weight in pools if pool]
        drawn = self._random.choices([p for p, _ in filled], [w for _, w in filled])[0]
        return self._random.choice(drawn)

    def _create(self, collection: Collection) -> Asked:
        self._made += 1
        key = f"{self._prefix}{collection.name}-{self.number}-{self._made}"
        words = self._worded(key, 1)
        body = {"id": key, collection.value: words, **collection.body}
        path = collection.stored or collection.path
        return Asked(collection, "create", "POST", path, _json(body), key, words)

    def _worded(self, key: str, version: int) -> str:
        drawn = self._random.choices(_WORDS, k=self._random.randint(1, 16))
        return f"{key} v{version} {' '.join(drawn)}"


def _of_key(collection: Collection, kind: Kind, thing: Thing, words: str) -> Asked:
    path = f"{collection.path}/{quote(thing.key)}"
    if kind == "read":
        return Asked(collection, kind, "GET", path, None, thing.key, None)
    if kind == "delete":
        return Asked(collection, kind, "DELETE", path, None, thing.key, None)
    if kind == "update":
        body = _json({collection.value: words})
        return Asked(collection, kind, "PUT", path, body, thing.key, words)
    if collection.finds:
        # Its first two words are its own: what a refused write used up is not in them.
        wanted = quote(" ".join(thing.words.split(" ", 2)[:2]) + " ")
        path = f"{collection.path}/search?q={wanted}&limit={_HITS}"
        return Asked(collection, kind, "GET", path, None, thing.key, None)
    body = _json({"query": thing.words, "limit": _HITS})
    return Asked(collection, kind, "POST", "/search", body, None, None)


def _listing(collection: Collection) -> str:
    return f"{collection.path}?limit={_PAGE}" if collection.stored != "" else collection.path


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def _checked_mix(mix: Mapping[str, int] | None) -> Mapping[str, int]:
    for kind, weight in (mix or {}).items():
        if kind not in MIX:
            raise BadInputError(f"the mix of a load: {unknown_key(kind, MIX)}")
        if not isinstance(weight, int) or weight < 0:
            raise BadInputError(
                f"the mix of a load gives {kind} the weight {weight!r}; it must be a whole number,"
                " 0 or more"
            )
    return {**MIX, **(mix or {})}


def _checked_services(services: Iterable[str]) -> frozenset[str]:
    reached, known = frozenset(services), {each.service for each in COLLECTIONS}
    for name in sorted(reached - known):
        raise BadInputError(f"the services of a load: {unknown_key(name, sorted(known))}")
    if not reached:
        raise BadInputError(f"a load needs a service: one of {', '.join(sorted(known))}")
    return reached


def outcome(asked: Asked, status: int, content: bytes, *, prefix: str) -> Outcome:
    """Return what an answer means for the history.

    A 5xx to a write is `info`: whoever failed may have written before. So is a 409 to a key that
    only this session makes: somebody sent the request twice.
    """
    write = asked.kind in WRITES
    absent = status == 404 and asked.key is not None and asked.kind in _OF_A_KEY
    if absent or (asked.kind == "delete" and 200 <= status < 300):
        return Outcome("ok", status, saw=((asked.key or "", None),) if absent else ())
    if not 200 <= status < 300:
        unsure = write and (status >= 500 or (status == 409 and asked.kind == "create"))
        return Outcome("info" if unsure else "fail", status, _said(status, content))
    try:
        body = json.loads(content)
        saw = _saw(asked, body, prefix)
    except (ValueError, TypeError, KeyError, AttributeError):
        wrong = f"the answer is not what the API promises: {_said(status, content)}"
        return Outcome("ok" if write else "fail", status, wrong)
    if not write:
        return Outcome("ok", status, saw=saw)
    return Outcome("ok", status, acknowledged=str(body["id"]), saw=saw)


def _saw(asked: Asked, body: Any, prefix: str) -> tuple[tuple[str, str | None], ...]:
    """Return the rows in an answer that are this load's: by their key, or by their value."""
    collection = asked.collection
    if asked.kind in ("create", "update", "read"):
        rows = [body]
    elif asked.kind == "list":
        rows = body[collection.rows]
    else:
        rows = body["results"]
    if collection.stored == "":
        return ()
    saw: list[tuple[str, str | None]] = [
        (str(row["id"]), _told(row[collection.value]))
        for row in rows
        if str(row["id"]).startswith(prefix) or str(row[collection.value]).startswith(prefix)
    ]
    if asked.kind == "search" and asked.key and asked.key not in (key for key, _ in saw):
        saw.append((asked.key, None))
    return tuple(saw)


def _told(value: Any) -> str:
    return "NULL" if value is None else told(str(value))


def _said(status: int, content: bytes) -> str:
    return f"status {status}: {content[:200].decode('utf-8', 'replace')}"
