"""Ed25519 keys that sign reports: made, read, and never overwritten.

A private key is PKCS#8 PEM with mode 0600, a public one SubjectPublicKeyInfo PEM. Without a
key of somebody's a throw-away one signs: it shows that nothing changed, and nobody vouches.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
from securesystemslib.signer import SSlibKey as PublicKey  # type: ignore[attr-defined]

from harness.errors import BadInputError, EnvironmentFaultError

__all__ = [
    "PRIVATE_NAME",
    "PUBLIC_NAME",
    "PublicKey",
    "SigningKey",
    "generate",
    "load_private",
    "load_public",
    "public_from_hex",
    "public_from_pem",
    "signing_key",
    "throwaway",
]

PRIVATE_NAME = "gate-key.pem"
PUBLIC_NAME = "gate-key.pub.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key that can sign; `throwaway` where it was made for one run and kept by nobody."""

    signer: CryptoSigner
    throwaway: bool

    @property
    def key_id(self) -> str:
        """The key's id: a SHA-256 over its public half, as securesystemslib computes it."""
        return str(self.signer.public_key.keyid)

    @property
    def public_pem(self) -> bytes:
        """The public half as PEM, to give to those who verify."""
        raw = bytes.fromhex(self.signer.public_key.keyval["public"])
        key = Ed25519PublicKey.from_public_bytes(raw)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signing_key(private: Path | None) -> SigningKey:
    """Return the key in the file `private`, or a throw-away one where there is none."""
    return throwaway() if private is None else load_private(private)


def throwaway() -> SigningKey:
    """Make a key that lives as long as this process."""
    return SigningKey(signer=CryptoSigner.generate_ed25519(), throwaway=True)


def generate(out: Path) -> tuple[Path, Path]:
    """Make a key pair in the folder `out` and return the paths of its private and public file.

    BadInputError where one of the files is there: a key that reports were signed with is
    never overwritten.
    """
    private, public = out / PRIVATE_NAME, out / PUBLIC_NAME
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise BadInputError(f"{path} is there and is not overwritten; name another folder.")
    key = SigningKey(signer=CryptoSigner.generate_ed25519(), throwaway=False)
    try:
        out.mkdir(parents=True, exist_ok=True)
        _create(private, key.signer.private_bytes, mode=0o600)
        _create(public, key.public_pem, mode=0o644)
    except OSError as error:
        raise EnvironmentFaultError(
            f"{out} cannot be written ({error.strerror}); name another folder with --out."
        ) from error
    return private, public


def _create(path: Path, content: bytes, *, mode: int) -> None:
    # O_EXCL with the mode at creation: the private key is at no moment readable by others.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def load_private(path: Path) -> SigningKey:
    """Read a private key; BadInputError where it is none, or where others can read it."""
    content = _read(path)
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        hint = " (it is a public key)" if b"PUBLIC KEY" in content else ""
        raise BadInputError(
            f"{path} is not a private key in PEM without a password{hint};"
            " make one with harness keygen."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInputError(f"{path} is not an Ed25519 key; make one with harness keygen.")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise BadInputError(f"{path} can be read by others (mode {mode:04o}); chmod 600 it.")
    return SigningKey(signer=CryptoSigner(key), throwaway=False)


def load_public(path: Path) -> PublicKey:
    """Read a public key; BadInputError where it is none."""
    return public_from_pem(_read(path), name=str(path))


def public_from_pem(content: bytes, *, name: str) -> PublicKey:
    """Return the public key in PEM; BadInputError, about `name`, where it is none."""
    if b"PRIVATE KEY" in content:
        raise BadInputError(
            f"{name} is a private key; verify with the public one ({PUBLIC_NAME}) and keep"
            " this one to yourself."
        )
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadInputError(f"{name} is not a public key in PEM; name a {PUBLIC_NAME}.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadInputError(f"{name} is not an Ed25519 key; name a {PUBLIC_NAME}.")
    return PublicKey.from_crypto(key)


def public_from_hex(public: str) -> PublicKey:
    """Return the public key of 32 bytes in hexadecimal; ValueError where they are none."""
    return PublicKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be read ({error.strerror}); name a key's file."
        ) from error
