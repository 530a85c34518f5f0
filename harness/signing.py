"""The commands about who vouches: `harness keygen`, `harness verify`, `harness approve`."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.errors import BadInputError, ExitCode
from harness.model import Verdict

if TYPE_CHECKING:
    from harness.approval import Asked, Judged
    from harness.verify import Given

__all__ = ["EXIT_CODES", "approve", "keygen", "verify"]

EXIT_CODES = {
    Verdict.VALID: ExitCode.VALID,
    Verdict.INVALID: ExitCode.INVALID,
    Verdict.UNKNOWN: ExitCode.UNKNOWN,
}
_FOLDER = click.Path(path_type=Path)
_C = TypeVar("_C", bound=Callable[..., Any])


@click.command()
@click.option("--out", type=_FOLDER, default=Path(), help="Folder of the two files [default: .].")
def keygen(*, out: Path) -> int:
    """Make a pair of keys to sign reports with."""
    from harness.keys import generate  # noqa: PLC0415

    private, public = generate(out)
    click.echo(f"private key: {private} (keep it to yourself)\npublic key:  {public}")
    return ExitCode.VALID


def _policy(command: _C, *, required: bool) -> _C:
    """Add what a report is judged by: policy, keys, the gate's report."""
    for option in (
        click.option("--gate", type=_FOLDER, help="The gate's report on the same candidate."),
        click.option("--keys", "ring", type=_FOLDER, required=required, help="The key file."),
        click.option("--policy", type=_FOLDER, required=required, help="Judge by this policy."),
        click.option("--candidate", type=_FOLDER, help="Compare with this candidate's manifest."),
        click.option("--before", type=_FOLDER, help="Compare with this DevFlow tree."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("report", type=_FOLDER)
@click.option("--key", "keys", type=_FOLDER, multiple=True, help="Public key that you trust.")
@functools.partial(_policy, required=False)
@click.option("--backup", type=_FOLDER, help="Compare with this backup of the databases.")
@click.option("--after", type=_FOLDER, help="Compare with this unified database.")
@click.option("--mapping", type=_FOLDER, help="Compare with this mapping.")
@click.option("--scenarios", type=_FOLDER, help="Compare with the scenarios in this folder.")
@click.option("--used", type=_FOLDER, help="The record of uses: refuse a report used before.")
@click.option("--page", type=_FOLDER, help="Write what was found as a page into this file, too.")
@click.option("--run", help="The migration that goes on with its use in the record.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(
    *,
    report: Path,
    keys: tuple[Path, ...],
    ring: Path | None,
    gate: Path | None,
    used: Path | None,
    page: Path | None,
    run: str | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Verify a signed REPORT, recompute the digests of what is given, judge it by a policy."""
    from harness.verify import Given, verify_line  # noqa: PLC0415
    from harness.verify import verify as verify_report  # noqa: PLC0415

    at_hand = Given(keys=keys, **given)
    policy = given["policy"]
    if ring is None:
        # A policy that nobody judges by must not look as if somebody had.
        alone = {"--gate": gate, "--used": used, "--page": page, "--run": run}
        for option in (name for name, value in alone.items() if value is not None):
            raise click.UsageError(f"{option} goes with --policy and --keys")
        if policy is not None:
            raise click.UsageError("--policy goes with --keys")
        result = verify_report(report, at_hand)
        said = {key: result.as_json()[key] for key in ("verdict", "findings", "examined")}
    elif policy is None:
        raise click.UsageError("--keys goes with --policy")
    else:
        from harness.approval import Asked, KeyRing, Policy  # noqa: PLC0415

        asked = Asked(
            policy=Policy.load(policy), ring=KeyRing.load(ring), gate=gate, used=used, run=run
        )
        judged = _judged(report, at_hand, asked, page)
        result, said = judged.result, judged.as_json()
    if as_json:
        click.echo(json.dumps(said))
    else:
        for finding in result.findings:
            click.echo(f"{finding.severity}: {finding.cause}")
        click.echo(verify_line(result))
    return EXIT_CODES[result.verdict]


def _judged(report: Path, given: Given, asked: Asked, page: Path | None) -> Judged:
    """Judge the report by the policy, and write the page of it where one is asked for."""
    from harness.approval import judge  # noqa: PLC0415
    from harness.approval.page import refuse_page, write_page  # noqa: PLC0415

    folder = report.parent if report.is_file() else report
    if page is not None:
        refuse_page(page, [one for one in (folder, asked.gate) if one is not None])
    judged = judge(report, given, asked)
    if page is not None:
        write_page(page, judged, folder)
    return judged


@click.command()
@click.argument("report", type=_FOLDER)
@click.option("--key", type=_FOLDER, required=True, help="Your private key.")
@click.option("--role", required=True, help="What you approve as.")
@click.option("--reason", required=True, help="Why, in your own words; it is signed too.")
@functools.partial(_policy, required=True)
@click.option("--yes", is_flag=True, help="Sign without being asked.")
def approve(
    *,
    report: Path,
    key: Path,
    role: str,
    reason: str,
    policy: Path,
    ring: Path,
    gate: Path | None,
    yes: bool,
    **given: Any,
) -> int:
    """Show what an approval of REPORT says, and sign it with your key."""
    from harness.approval import Asked, KeyRing, Policy, prepare  # noqa: PLC0415
    from harness.keys import load_private  # noqa: PLC0415
    from harness.verify import Given, verify_line  # noqa: PLC0415

    prepared = prepare(
        report,
        Given(**given),
        Asked(policy=Policy.load(policy), ring=KeyRing.load(ring), gate=gate),
        key=load_private(key),
        role=role,
        reason=reason,
    )
    if prepared.statement is None:
        result = prepared.judged.result
        for finding in result.findings:
            click.echo(f"{finding.severity}: {finding.cause}")
        click.echo(f"nothing was signed; {verify_line(result)}")
        return EXIT_CODES[result.verdict]
    click.echo("\n".join(prepared.lines()))
    if not yes and not _confirmed():
        click.echo("nothing was signed")
        return ExitCode.UNKNOWN
    click.echo(f"approved: {prepared.sign()}")
    click.echo(f"page: {prepared.show()}")
    return ExitCode.VALID


def _confirmed() -> bool:
    try:
        return click.confirm("Sign this?")
    except click.Abort as error:
        raise BadInputError(
            "nobody answered, so nothing was signed; say --yes where no person is asked"
        ) from error
