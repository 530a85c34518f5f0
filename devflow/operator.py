"""What operators call: `python -m devflow migrate plan|apply|status|rollback`, `serve`, `health`.

Migrating runs the same phases as the candidate contract's, in this process, told in words. Its exit
codes are the contract's too: 0 done, 1 failed and nothing changed, 3 failed on the way.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import apsw
import click
from rich.console import Console

from devflow.approval import Approved, Gatekeeper, unapproved
from devflow.live import later
from devflow.migration import phases
from devflow.migration.errors import MigrationError, sqlite_says
from devflow.migration.journal import Journal
from devflow.migration.tree import Tree
from devflow.narration import Narrator, forgiving, what_was_lost

__all__ = ["EXIT_INDEFINITE", "EXIT_UNCHANGED", "main"]

EXIT_UNCHANGED, EXIT_INDEFINITE = 1, 3
_LITTLE_BYTES = 1 << 20
_EXPORT = Path("backups", "later-writes.sqlite")
_LIVE_EXPORT = Path("backups", "later-writes", "later-writes.sqlite")
_Answer = TypeVar("_Answer")
_Operation = Callable[[Tree, phases.Progress], str]
_TREE = click.argument("tree", type=click.Path(path_type=Path), default=Path())
_FILE = click.Path(path_type=Path)
_UNTIL = click.option(
    "--until",
    type=click.Choice(phases.PHASES),
    default=phases.PHASES[-1],
    show_default=True,
    help="The last phase to run.",
)


_LIVE = click.option(
    "--live",
    "live",
    multiple=True,
    metavar="SERVICE=PORT",
    help="Go on while services are used: the control port of the gate in front of this one.",
)


class _StoppedError(Exception):
    """What stopped an operation, in one sentence, and its exit code."""

    def __init__(self, text: str, *, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def _attempt(
    action: Callable[[], _Answer], *, changed: Callable[[], bool], at: Path | None = None
) -> _Answer:
    """Run `action` on the tree `at`; what tree or machine do to it becomes a `_StoppedError`."""
    try:
        return action()
    except MigrationError as error:
        text, definite = error.text, error.definite
    except apsw.Error as error:
        text, definite = f"SQLite refused: {sqlite_says(error)}{_room(error, at)}", False
    except OSError as error:
        text, definite = f"{error.filename or at}: {error.strerror or error}", False
    except UnicodeEncodeError as error:
        text, definite = f"{error.object!r} has bytes that are no UTF-8; rename it and retry", False
    except KeyboardInterrupt:
        text, definite = "interrupted; apply again to go on, or roll back", False
    raise _StoppedError(
        text, exit_code=EXIT_UNCHANGED if definite and not changed() else EXIT_INDEFINITE
    )


def _room(error: apsw.Error, at: Path | None) -> str:
    """Say how much room there is, where that may be what is wrong: a full disk has many errors."""
    if at is not None and isinstance(error, apsw.FullError | apsw.IOError):
        with suppress(OSError):
            free = shutil.disk_usage(at).free
            if free < _LITTLE_BYTES or isinstance(error, apsw.FullError):
                return (
                    f"; where {at} is, {free // 1024:,} KiB are left: make room, and run the same"
                    " command again"
                )
    return ""


def _only_look(action: Callable[[], _Answer], at: Path | None = None) -> _Answer:
    """Run an action that changes nothing, whatever happens to it."""
    try:
        return _attempt(action, changed=lambda: False, at=at)
    except _StoppedError as failure:
        failure.exit_code = EXIT_UNCHANGED
        raise


def _narrated(directory: Path, *, steps: int, operation: _Operation) -> tuple[str, Narrator]:
    """Run the operation under a narrator; return the state, and the narrator of its steps."""
    with Narrator(Console(), steps=steps) as narrator:
        state = _attempt(
            lambda: operation(Tree.at(directory), narrator.tell),
            changed=lambda: narrator.changed,
            at=directory,
        )
        return state, narrator


def _answer(text: str) -> None:
    """Print what was asked for, where nothing else is done: not to be able to is a failure then."""
    click.echo(text)
    lost = what_was_lost()
    if lost is not None:
        raise _StoppedError(
            f"the answer could not be written: {lost.strerror}", exit_code=EXIT_UNCHANGED
        )


def _begun_or_root(directory: Path) -> Tree:
    """Return the tree that a migration was begun in, or could be: no other may give comfort."""
    tree = Tree.at(directory)
    if not Journal.exists(tree.work):
        tree.check_place()
    return tree


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def _devflow() -> None:
    """DevFlow: one database for all of its services."""


@_devflow.group("migrate")
def _migrate() -> None:
    """Migrate a DevFlow root to the unified database, or bring it back."""


def _way(live: tuple[str, ...], export: Path | None = None) -> phases.Way:
    """Return how to migrate: at rest, or live behind the gates that are named.

    A live rollback to the backup writes the later writes to `export`.
    """
    if not live:
        return phases.AT_REST
    from devflow.live.control import GateControl  # noqa: PLC0415 - at rest needs none of it
    from devflow.live.steps import live_way  # noqa: PLC0415

    gates = {}
    for told in live:
        name, _, port = told.partition("=")
        if not port.isdecimal():
            raise click.UsageError(f"--live {told} names no port; it is SERVICE=PORT")
        gates[name] = GateControl(name, int(port))
    return _only_look(lambda: live_way(gates, export=export))


@_migrate.command("plan")
@_TREE
@_UNTIL
@_LIVE
def _plan(tree: Path, until: str, live: tuple[str, ...]) -> None:
    """List the steps that apply would run in TREE, then those of a rollback."""
    way = _way(live)
    steps = _only_look(lambda: list(phases.plan(Tree.at(tree), until, way)), tree)
    lines = (f"{n:>3}  {step.phase:<9} {step.name}" for n, step in enumerate(steps, start=1))
    _answer("\n".join(lines))


@_migrate.command("apply")
@_TREE
@_UNTIL
@_LIVE
@click.option("--approval", type=_FILE, help="Folder of the report that was approved.")
@click.option("--policy", type=_FILE, help="The policy that judges it.")
@click.option("--keys", type=_FILE, help="The key file that its signers are known by.")
@click.option("--gate", type=_FILE, help="Folder of the gate's report, where the policy wants it.")
@click.option("--used", type=_FILE, help="The record of uses [default: backups/uses.jsonl].")
def _apply(tree: Path, until: str, live: tuple[str, ...], **given: Path | None) -> None:
    """Run the phases in TREE, or go on with them where an earlier run was cut off.

    The cutover and what follows it need a report that was approved for these databases and this
    migration, and was not used before. Live, it is approved for the backup `before`.
    """
    approved, way = _approved(**given), _way(live)
    planned = _only_look(lambda: list(phases.plan(Tree.at(tree), until, way)), tree)
    steps = sum(step.phase != "rollback" for step in planned)
    named = {step.phase for step in planned}
    # What will be refused is better refused before an hour's shadow is built.
    if named & set(phases.GUARDED) and (approved is None or named - {*phases.GUARDED, "rollback"}):
        _only_look(lambda: _ask_early(Tree.at(tree), approved, live=bool(live)), tree)

    def operation(at: Tree, tell: phases.Progress) -> str:
        keeper = None if approved is None else Gatekeeper(at, approved, live=bool(live))
        return phases.apply(at, until, tell, unapproved if keeper is None else keeper.allow, way)

    state, told = _narrated(tree, steps=steps, operation=operation)
    click.echo(_in_words(state) if told.changed else f"nothing to do: {_in_words(state)}")


def _approved(
    *,
    approval: Path | None,
    policy: Path | None,
    keys: Path | None,
    gate: Path | None,
    used: Path | None,
) -> Approved | None:
    """Return what was given for the gatekeeper, None where nothing was."""
    if approval is None or policy is None or keys is None:
        if any((approval, policy, keys, gate, used)):
            raise click.UsageError("--approval, --policy and --keys go together")
        return None
    return Approved(report=approval, policy=policy, keys=keys, gate=gate, used=used)


def _ask_early(tree: Tree, approved: Approved | None, *, live: bool) -> None:
    if approved is None:
        unapproved()
    else:
        Gatekeeper(tree, approved, live=live).check(phases.run_of(tree))


@_migrate.command("status")
@_TREE
def _status(tree: Path) -> None:
    """Say which phase of TREE's migration is done, and which comes next."""
    _answer(_in_words(_only_look(lambda: phases.status(_begun_or_root(tree)), tree)))


@_migrate.command("rollback")
@_TREE
@click.option(
    "--keep-writes/--to-backup",
    "keep_writes",
    default=False,
    help="Keep what was written since the cutover, or restore the backup exactly [the default].",
)
@click.option(
    "--export",
    type=_FILE,
    help="With --to-backup: the file for later writes [default: backups/later-writes.sqlite, or"
    " with --live backups/later-writes/later-writes.sqlite].",
)
@_LIVE
def _rollback(tree: Path, keep_writes: bool, export: Path | None, live: tuple[str, ...]) -> None:
    """Bring TREE's databases and configuration back to what they were.

    Stop the services first, or name their gates with --live where it was begun so. With
    --keep-writes the old databases have every later write that their shapes can hold; the rest lies
    in .devflow-migration/sidecar.sqlite. Without, all later writes go to a file. `replay` puts
    either into a unified database again.
    """
    if keep_writes and export is not None:
        raise click.UsageError(
            "--export goes with --to-backup: --keep-writes has nothing to export"
        )
    root = _only_look(lambda: _begun_or_root(tree), tree)
    resumed = _only_look(lambda: phases.is_going_back(root), tree)
    if export is not None and export.exists() and not resumed:
        raise click.UsageError(f"{export} is there already; name another file for --export")
    wanted = export or root.directory / (_LIVE_EXPORT if live else _EXPORT)
    file = later.free_path(wanted)
    way = _way(live, file)
    exported: Mapping[str, int] = {}
    if not keep_writes and not live:
        exported = _only_look(lambda: later.export(root, file), tree)

    def operation(at: Tree, tell: phases.Progress) -> str:
        return phases.rollback(at, tell, way, keep_writes=keep_writes)

    steps = len(way.returning(keep_writes=keep_writes))
    _, told = _narrated(tree, steps=steps, operation=operation)
    _tell_the_way_back(tree, told, keep_writes=keep_writes)
    exported = exported or told.counts.get("rollback.export", {})
    if exported:
        click.echo(f"{sum(exported.values()):,} rows that were written since are in {file}")
    elif resumed and not keep_writes and (earlier := later.newest(wanted)):
        click.echo(f"what was written since may be in {earlier}, of the run that was cut off")


def _tell_the_way_back(tree: Path, told: Narrator, *, keep_writes: bool) -> None:
    sidecar = tree / ".devflow-migration" / later.SIDECAR
    if not told.changed:
        click.echo("nothing to roll back: no migration was begun")
    elif keep_writes:
        click.echo("rolled back: the old databases have what was written since")
        if sidecar.exists():
            click.echo(f"what they cannot hold is in {sidecar}")
    else:
        click.echo("rolled back: databases and configuration are what they were")


@_migrate.command("replay")
@click.argument("file", type=_FILE)
@_TREE
def _replay(file: Path, tree: Path) -> None:
    """Put the later writes in FILE, of a rollback, into TREE's unified database again."""
    done = _only_look(lambda: later.put_back(Tree.at(tree), file), tree)
    click.echo(f"{done.put:,} rows put, {done.removed:,} removed")
    if done.left:
        click.echo(f"{done.left:,} rows have nothing here that they belong to; {file} keeps them")


@_devflow.command("gate", context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def _gate(words: tuple[str, ...]) -> int:
    """Stand in front of one service's port: hold its requests while it is moved."""
    from devflow.live.front import main as stand  # noqa: PLC0415 - it alone speaks HTTP

    stand.main(list(words), prog_name="python -m devflow gate", standalone_mode=False)
    return 0


_ONLY = click.option(
    "--only", "only", multiple=True, metavar="NAME", help="This service alone; may be repeated."
)


@_devflow.command("serve")
@_ONLY
def _serve(only: tuple[str, ...]) -> int:
    """Run the services on the database that DEVFLOW_DB_PATH names, until a signal stops them."""
    # What serves is not needed where somebody only migrates.
    from devflow.serving import serve  # noqa: PLC0415

    return serve(only)


@_devflow.command("health")
@_ONLY
def _health(only: tuple[str, ...]) -> int:
    """Say of each service how it is; the exit code is 0 where all are well."""
    from devflow.serving import health  # noqa: PLC0415

    return health(only)


def _in_words(state: str) -> str:
    if state == "none":
        return f"not migrated; the first phase is {phases.PHASES[0]}"
    following = phases.PHASES[phases.PHASES.index(state) + 1 :]
    if not following:
        return "migrated: every phase is done"
    return f"{state} is done; next comes {following[0]}"


def main(arguments: list[str] | None = None) -> int:
    """Run one command of the operator; return its exit code."""
    with forgiving():
        return _run(arguments)


def _run(arguments: list[str] | None) -> int:
    try:
        code = _devflow.main(arguments, prog_name="python -m devflow", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return EXIT_UNCHANGED
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        return EXIT_UNCHANGED
    except (click.Abort, KeyboardInterrupt):
        click.echo("error: interrupted; apply again to go on, or roll back", err=True)
        return EXIT_INDEFINITE
    except _StoppedError as failure:
        click.echo(f"error: {failure}", err=True)
        return failure.exit_code
    return code if isinstance(code, int) else 0
