"""The `harness` command: exit 0 valid, 1 invalid, 2 unknown, 254 bad input, 255 the harness broke.

Only what `--help` needs is imported at the top; each command imports its own.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.errors import BadInputError, ExitCode, HarnessError
from harness.model import COMMAND_S
from harness.progress import unheard
from harness.signing import EXIT_CODES, approve, keygen, verify

if TYPE_CHECKING:
    from harness.commands import Answer

__all__ = ["cli", "main"]

_SHOWN_FINDINGS = 20
_WEEK_S = 604_800
_FOLDER = click.Path(path_type=Path)
_C = TypeVar("_C", bound=Callable[..., Any])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Ended from outside is as good as interrupted: what was made for a while is still removed.
    with contextlib.suppress(ValueError):  # only the main thread may
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(int(_run(given)))


def _run(given: list[str]) -> int:
    as_json = "--json" in given
    try:
        _refuse_other_bytes(given)
        code = cli.main(given, prog_name="harness", standalone_mode=False)
    except click.ClickException as error:
        hint = getattr(error, "ctx", None)
        usage = f" ({hint.command_path} --help tells more)" if hint else ""
        return _fail(f"{error.format_message()}{usage}", ExitCode.BAD_INPUT, as_json=as_json)
    except HarnessError as error:
        return _fail(str(error), error.exit_code, as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", ExitCode.BROKEN, as_json=as_json)
    except _UnreadError:
        unheard(sys.stdout)
        return ExitCode.BROKEN
    except Exception as error:
        place = _keep_traceback()
        text = f"the harness itself broke ({type(error).__name__}: {error}); see {place}"
        return _fail(text, ExitCode.BROKEN, as_json=as_json)
    return code if isinstance(code, int) else ExitCode.VALID


def _refuse_other_bytes(given: list[str]) -> None:
    """Refuse names that no report and no JSON could hold."""
    for argument in given:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            text = f"{argument!a} has bytes that are no UTF-8; rename it and try again"
            raise BadInputError(text) from error


def _fail(text: str, code: ExitCode, *, as_json: bool) -> int:
    sentence = " ".join(text.split())
    try:
        click.echo(f"harness: {sentence}", err=True)
    except BrokenPipeError:
        unheard(sys.stderr)
    if as_json:
        try:
            click.echo(json.dumps({"verdict": None, "error": sentence, "exit_code": int(code)}))
        except BrokenPipeError:
            unheard(sys.stdout)
            return ExitCode.BROKEN
    return code


def _keep_traceback() -> str:
    handle, name = tempfile.mkstemp(prefix="harness-", suffix=".log", text=True)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        traceback.print_exc(file=file)
    return name


class _UnreadError(Exception):
    """Nobody reads the answer any more."""


class _Commands(click.Group):
    """The commands; click ends with 1, which means invalid, where nobody reads what they say."""

    def make_context(self, *given: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*given, **extra)
        except BrokenPipeError as error:
            raise _UnreadError from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _UnreadError from error
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            text = f"the name {error.filename} is too long for a file; give a shorter one"
            raise BadInputError(text) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="devflow-migration-gate", prog_name="harness")
def cli() -> None:
    """Rehearse a migration on copies, prove what was kept, sign the proof."""


def _out(command: _C) -> _C:
    """Add --out: the folder of report and databases."""
    return click.option(
        "--out", type=_FOLDER, help="Folder of the report [default: reports/…, made anew]."
    )(command)


def _json(command: _C) -> _C:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def _key(command: _C) -> _C:
    """Add --key: who signs."""
    return click.option(
        "--key",
        type=_FOLDER,
        envvar="GATE_KEY",
        help="Private key that signs [default: $GATE_KEY, else a throw-away one].",
    )(command)


def _timeout(command: _C) -> _C:
    """Add --timeout: how long the candidate may take."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=click.IntRange(1, _WEEK_S),
        default=COMMAND_S,
        show_default=True,
        metavar="SECONDS",
        help="How long one command of the candidate may take.",
    )(command)


def _folder(out: Path | None, what: str) -> Path:
    """Return the folder to report in; by default one of its own below reports/."""
    if out is not None:
        return out
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Path("reports") / f"{what}-{stamp}-{os.getpid()}"


def _say(answer: Answer, *, as_json: bool) -> int:
    """Print an answer and return the exit code."""
    if as_json:
        click.echo(json.dumps(answer.as_json(), ensure_ascii=True))
    else:
        for finding in answer.errors[:_SHOWN_FINDINGS]:
            click.echo(_line(finding))
        if len(answer.errors) > _SHOWN_FINDINGS:
            click.echo(f"… and {len(answer.errors) - _SHOWN_FINDINGS} more, in the report")
        click.echo(answer.line)
    return EXIT_CODES[answer.verdict]


def _line(finding: Any) -> str:
    place = ".".join(part for part in (finding.database, finding.table, finding.column) if part)
    key = f" key {finding.key}" if finding.key is not None else ""
    where = f" [{place}{key}]" if place or key else ""
    text = f"{finding.rule}{where}: {finding.cause}"
    if finding.expected is not None or finding.actual is not None:
        text += f"\n    expected {finding.expected}\n    actual   {finding.actual}"
    return text + (f"\n    again:   {finding.replay}" if finding.replay else "")


@cli.command()
@click.option("--source", type=_FOLDER, required=True, help="Root of a DevFlow tree; only read.")
@click.option("--candidate", type=_FOLDER, help="The candidate's manifest [default: devflow's].")
@click.option("--profile", type=click.Choice(["quick", "full"]), default="quick", show_default=True)
@_timeout
@_out
@_key
@_json
def rehearse(
    *,
    source: Path,
    candidate: Path | None,
    profile: str,
    timeout_s: int,
    out: Path | None,
    key: Path | None,
    as_json: bool,
) -> int:
    """Migrate copies of the databases in a DevFlow tree, judge all, roll back, report."""
    from harness.candidate import DEFAULT_MANIFEST  # noqa: PLC0415
    from harness.commands import rehearse_tree  # noqa: PLC0415
    from harness.progress import printer  # noqa: PLC0415

    answer = rehearse_tree(
        source,
        _folder(out, "rehearsal"),
        manifest=candidate or DEFAULT_MANIFEST,
        profile=profile,
        timeout_s=timeout_s,
        key=key,
        tell=printer(),
    )
    return _say(answer, as_json=as_json)


@cli.command()
@click.option("--before", type=_FOLDER, required=True, help="The tree as it was; only read.")
@click.option("--after", type=_FOLDER, required=True, help="The unified database; only read.")
@click.option("--mapping", type=_FOLDER, help="The mapping [default: devflow's].")
@_out
@_key
@_json
def audit(
    *,
    before: Path,
    after: Path,
    mapping: Path | None,
    out: Path | None,
    key: Path | None,
    as_json: bool,
) -> int:
    """Judge a migration that somebody already ran."""
    from harness.commands import audit_databases  # noqa: PLC0415
    from harness.progress import printer  # noqa: PLC0415

    answer = audit_databases(
        before, after, _folder(out, "audit"), mapping=mapping, key=key, tell=printer()
    )
    return _say(answer, as_json=as_json)


@cli.command()
@click.argument("name_or_file", metavar="NAME|FILE")
@click.option("--seed", type=click.IntRange(min=0), help="Draw everything random from this.")
@click.option("--profile", type=click.Choice(["quick", "full"]), default="full", show_default=True)
@_timeout
@_out
@_key
@_json
def scenario(
    *,
    name_or_file: str,
    seed: int | None,
    profile: str,
    timeout_s: int,
    out: Path | None,
    key: Path | None,
    as_json: bool,
) -> int:
    """Play one scenario and leave its databases in a folder to look at."""
    from harness.commands import play_scenario  # noqa: PLC0415
    from harness.progress import printer  # noqa: PLC0415
    from harness.scenario import find_scenario  # noqa: PLC0415

    story = find_scenario(name_or_file)
    answer = play_scenario(
        story if seed is None else story.with_seed(seed),
        _folder(out, f"scenario-{story.name}"),
        profile=profile,
        timeout_s=timeout_s,
        key=key,
        tell=printer(),
    )
    return _say(answer, as_json=as_json)


@cli.command()
@click.option("--profile", type=click.Choice(["quick", "full"]), default="quick", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option(
    "--out", type=_FOLDER, default=Path("reports/gate"), help="Folder of the report.",
    show_default=True,
)  # fmt: skip
@_key
def gate(*, profile: str, seed: int, out: Path, key: Path | None) -> int:
    """Run all scenarios, the property campaign and the mutants; sign one report."""
    from harness.gate import run_gate  # noqa: PLC0415
    from harness.progress import printer  # noqa: PLC0415

    result = run_gate(out, profile=profile, key=key, seed=seed, tell=printer())
    for failure in result.failures:
        click.echo(failure)
    click.echo(result.line)
    return EXIT_CODES[result.verdict]


@cli.command()
@click.argument("recipe")
@click.option("--out", type=_FOLDER, required=True, help="A folder that is empty or not there.")
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the recipe's.")
@click.option("--scale", type=float, help="Instead of the recipe's.")
@click.option("--hazard", "hazards", multiple=True, help="Put this in too; may be repeated.")
def build(
    *, recipe: str, out: Path, seed: int | None, scale: float | None, hazards: tuple[str, ...]
) -> int:
    """Build a fixture by itself from RECIPE, a file or a name."""
    from dataclasses import replace  # noqa: PLC0415

    from harness.fixture.build import build as build_fixture  # noqa: PLC0415
    from harness.fixture.recipe import Recipe  # noqa: PLC0415

    wanted = Recipe.load(recipe)
    wanted = replace(
        wanted,
        seed=wanted.seed if seed is None else seed,
        scale=wanted.scale if scale is None else scale,
        hazards=tuple(dict.fromkeys((*wanted.hazards, *hazards))),
    )
    build_fixture(wanted, out)
    click.echo(f"built {wanted.profile} (seed {wanted.seed}, scale {wanted.scale:g}) in {out}")
    return ExitCode.VALID


@cli.command()
@click.option("--only", multiple=True, help="Run this mutant; may be repeated.")
@click.option("--out", type=_FOLDER, help="Folder of the matrix [default: reports/…].")
@_json
def mutants(*, only: tuple[str, ...], out: Path | None, as_json: bool) -> int:
    """Run the candidate broken on purpose in many ways, and print who caught which."""
    from harness.mutants import matrix_text, run_mutants  # noqa: PLC0415
    from harness.progress import printer  # noqa: PLC0415

    folder = _folder(out, "mutants")
    result = run_mutants(out=folder, only=only, tell=printer())
    if as_json:
        caught = {m.name: list(m.caught_by) for m in result.matrix.mutants}
        said = {"verdict": result.verdict.value, "mutants": caught, "rate": result.rate}
        click.echo(json.dumps(said | {"report": str(folder / "mutants.txt")}))
    else:
        click.echo(matrix_text(result), nl=False)
    return EXIT_CODES[result.verdict]


@cli.command()
@click.argument("place", metavar="DATABASE/TABLE/KEY")
@click.option("--report", type=_FOLDER, required=True, help="A report's folder.")
@_json
def explain(*, place: str, report: Path, as_json: bool) -> int:
    """Tell what became of one source row, and prove it by the report's ledger."""
    from harness.explain import explain as explain_row  # noqa: PLC0415

    found = explain_row(place, report)
    if as_json:
        click.echo(json.dumps({"rows": [one.as_json() for one in found]}))
    else:
        click.echo("\n\n".join(one.text() for one in found))
    return ExitCode.VALID if all(one.proven for one in found) else ExitCode.INVALID


@cli.command()
@click.argument("report", type=_FOLDER)
def outputs(*, report: Path) -> int:
    """Print the figures of a REPORT as name=value lines, for the outputs of a CI job."""
    from harness.report import load  # noqa: PLC0415
    from harness.report.outputs import outputs as figures  # noqa: PLC0415

    folder = report if report.is_dir() else report.parent
    for name, value in figures(load(report), folder=str(folder)).items():
        click.echo(f"{name}={value}")
    return ExitCode.VALID


for command in (keygen, verify, approve):
    cli.add_command(command)
