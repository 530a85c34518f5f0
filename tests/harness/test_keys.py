from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from harness import keys
from harness.errors import BadInputError, EnvironmentFaultError


def test_a_generated_pair_is_read_back_as_one_key(tmp_path: Path) -> None:
    private, public = keys.generate(tmp_path / "new")
    assert keys.load_private(private).key_id == keys.load_public(public).keyid
    assert not keys.load_private(private).throwaway


def test_nobody_else_can_read_the_private_key(tmp_path: Path) -> None:
    private, public = keys.generate(tmp_path)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) & 0o133 == 0


@pytest.mark.parametrize("name", [keys.PRIVATE_NAME, keys.PUBLIC_NAME])
def test_a_key_that_is_there_is_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(BadInputError, match="is not overwritten"):
        keys.generate(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFaultError, match="cannot be written"):
        keys.generate(tmp_path / "file" / "keys")


def test_without_a_file_every_run_has_a_throwaway_key_of_its_own() -> None:
    first, second = keys.signing_key(None), keys.signing_key(None)
    assert first.throwaway and second.throwaway
    assert first.key_id != second.key_id


def test_a_named_file_is_the_key_that_signs(tmp_path: Path) -> None:
    private, public = keys.generate(tmp_path)
    key = keys.signing_key(private)
    assert key.public_pem == public.read_bytes()


def test_a_private_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    private, _ = keys.generate(tmp_path)
    private.chmod(0o644)
    with pytest.raises(BadInputError, match=r"mode 0644\); chmod 600"):
        keys.load_private(private)


def test_the_halves_of_a_pair_are_not_mistaken_for_each_other(tmp_path: Path) -> None:
    private, public = keys.generate(tmp_path)
    with pytest.raises(BadInputError, match="it is a public key"):
        keys.load_private(public)
    with pytest.raises(BadInputError, match="keep this one to yourself"):
        keys.load_public(private)


def test_what_is_no_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    with pytest.raises(BadInputError, match="cannot be read"):
        keys.load_private(path)
    path.write_text("hello")
    path.chmod(0o600)
    with pytest.raises(BadInputError, match="is not a private key"):
        keys.load_private(path)
    with pytest.raises(BadInputError, match="is not a public key"):
        keys.load_public(path)


def test_only_ed25519_signs(tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "key.pem", tmp_path / "key.pub.pem"
    private.write_bytes(
        other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
    private.chmod(0o600)
    public.write_bytes(
        other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(BadInputError, match="is not an Ed25519 key"):
        keys.load_private(private)
    with pytest.raises(BadInputError, match="is not an Ed25519 key"):
        keys.load_public(public)
