"""What operators call: `python -m devflow migrate plan|apply|status|rollback`, `serve`, `health`.

Migrating runs the same phases as the candidate contract's, in this process, told in words. Its exit
codes are the contract's too: 0 done, 1 failed and nothing changed, 3 failed on the way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import apsw
import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from devflow.approval import Approved, Gatekeeper, unapproved
from devflow.live import later
from devflow.migration import phases
from devflow.migration.errors import MigrationError
from devflow.migration.tree import Tree

__all__ = ["EXIT_INDEFINITE", "EXIT_UNCHANGED", "main"]

EXIT_UNCHANGED, EXIT_INDEFINITE = 1, 3
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


class _Narrator:
    """Tells each event as a line, and on a terminal keeps a bar with the time left below them."""

    def __init__(self, console: Console, *, steps: int) -> None:
        self.changed = False
        self._console = console
        self._skipped = 0
        self._begun = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps ·"),
            TimeElapsedColumn(),
            TextColumn("gone ·"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=steps)

    def __enter__(self) -> _Narrator:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, event: Mapping[str, object]) -> None:
        """Take in one event of the contract."""
        kind, step = event["event"], str(event.get("step", ""))
        if kind == "step_started":
            self._begun = time.monotonic()
            self._bar.update(self._task, description=step)
        elif kind == "step_done":
            self._bar.advance(self._task)
            if event.get("skipped"):
                self._skipped += 1
            else:
                self.changed = True
                self._say(_line(step, event, time.monotonic() - self._begun))
        elif kind == "phase_done" and self._skipped:
            self._say(f"{event['phase']}: {self._skipped} steps were done before")
            self._skipped = 0

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _line(step: str, event: Mapping[str, object], seconds: float) -> str:
    counts = event.get("counts")
    told = ""
    if isinstance(counts, Mapping):
        told = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
    return f"{step:<45} {seconds:7.2f} s  {told}".rstrip()


def _attempt(action: Callable[[], _Answer], *, changed: Callable[[], bool]) -> _Answer:
    """Run `action`; whatever the tree or the machine does to it becomes a `_StoppedError`."""
    try:
        return action()
    except MigrationError as error:
        text, definite = error.text, error.definite
    except apsw.Error as error:
        text, definite = f"SQLite refused: {error}", False
    except OSError as error:
        text, definite = f"{error.filename}: {error.strerror}", False
    except KeyboardInterrupt:
        text, definite = "interrupted; apply again to go on, or roll back", False
    raise _StoppedError(
        text, exit_code=EXIT_UNCHANGED if definite and not changed() else EXIT_INDEFINITE
    )


def _only_look(action: Callable[[], _Answer]) -> _Answer:
    """Run an action that changes nothing, whatever happens to it."""
    try:
        return _attempt(action, changed=lambda: False)
    except _StoppedError as failure:
        failure.exit_code = EXIT_UNCHANGED
        raise


def _narrated(directory: Path, *, steps: int, operation: _Operation) -> tuple[str, bool]:
    """Run the operation under a narrator; return the state, and whether any step was run."""
    with _Narrator(Console(), steps=steps) as narrator:
        state = _attempt(
            lambda: operation(Tree.at(directory), narrator.tell), changed=lambda: narrator.changed
        )
        return state, narrator.changed


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def _devflow() -> None:
    """DevFlow: one database for all of its services."""


@_devflow.group("migrate")
def _migrate() -> None:
    """Migrate a DevFlow root to the unified database, or bring it back."""


def _way(live: tuple[str, ...]) -> phases.Way:
    """Return how to migrate: at rest, or live behind the gates that are named."""
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
    return _only_look(lambda: live_way(gates))


@_migrate.command("plan")
@_TREE
@_UNTIL
@_LIVE
def _plan(tree: Path, until: str, live: tuple[str, ...]) -> None:
    """List the steps that apply would run in TREE, then those of a rollback."""
    way = _way(live)
    steps = _only_look(lambda: list(phases.plan(Tree.at(tree), until, way)))
    for number, step in enumerate(steps, start=1):
        click.echo(f"{number:>3}  {step.phase:<9} {step.name}")


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
    planned = _only_look(lambda: list(phases.plan(Tree.at(tree), until, way)))
    steps = sum(step.phase != "rollback" for step in planned)
    named = {step.phase for step in planned}
    # What will be refused is better refused before an hour's shadow is built.
    if named & set(phases.GUARDED) and (approved is None or named - {*phases.GUARDED, "rollback"}):
        _only_look(lambda: _ask_early(Tree.at(tree), approved, live=bool(live)))

    def operation(at: Tree, tell: phases.Progress) -> str:
        keeper = None if approved is None else Gatekeeper(at, approved, live=bool(live))
        return phases.apply(at, until, tell, unapproved if keeper is None else keeper.allow, way)

    state, changed = _narrated(tree, steps=steps, operation=operation)
    click.echo(_in_words(state) if changed else f"nothing to do: {_in_words(state)}")


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
    click.echo(_in_words(_only_look(lambda: phases.status(Tree.at(tree)))))


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
    help="With --to-backup: the file for later writes [default: backups/later-writes.sqlite].",
)
@_LIVE
def _rollback(tree: Path, keep_writes: bool, export: Path | None, live: tuple[str, ...]) -> None:
    """Bring TREE's databases and configuration back to what they were.

    Stop the services first, or name their gates with --live where it was begun so. With
    --keep-writes the old databases have every later write that their shapes can hold; the rest lies
    in .devflow-migration/sidecar.sqlite. Without, all later writes go to a file. `replay` puts
    either into a unified database again.
    """
    if export is not None and export.exists():
        raise click.UsageError(f"{export} is there already; name another file for --export")
    if keep_writes and export is not None:
        raise click.UsageError(
            "--export goes with --to-backup: --keep-writes has nothing to export"
        )
    way = _way(live)
    exported: dict[str, int] = {}
    file = export or later.free_path(tree / "backups" / "later-writes.sqlite")
    if not keep_writes and not live:
        exported = _only_look(lambda: later.export(Tree.at(tree), file))
    steps = len(way.returning(keep_writes=keep_writes))

    def operation(at: Tree, tell: phases.Progress) -> str:
        return phases.rollback(at, tell, way, keep_writes=keep_writes)

    _, changed = _narrated(tree, steps=steps, operation=operation)
    if not changed:
        click.echo("nothing to roll back: no migration was begun")
    elif keep_writes:
        click.echo("rolled back: the old databases have what was written since")
        if (tree / ".devflow-migration" / later.SIDECAR).exists():
            click.echo(f"what they cannot hold is in {tree / '.devflow-migration' / later.SIDECAR}")
    else:
        click.echo("rolled back: databases and configuration are what they were")
        if exported:
            click.echo(f"{sum(exported.values()):,} rows that were written since are in {file}")


@_migrate.command("replay")
@click.argument("file", type=_FILE)
@_TREE
def _replay(file: Path, tree: Path) -> None:
    """Put the later writes in FILE, of a rollback, into TREE's unified database again."""
    done = _only_look(lambda: later.put_back(Tree.at(tree), file))
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
    try:
        code = _devflow.main(arguments, prog_name="python -m devflow", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return EXIT_UNCHANGED
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        return EXIT_UNCHANGED
    except click.Abort:
        click.echo("error: interrupted; apply again to go on, or roll back", err=True)
        return EXIT_INDEFINITE
    except _StoppedError as failure:
        click.echo(f"error: {failure}", err=True)
        return failure.exit_code
    return code if isinstance(code, int) else 0
