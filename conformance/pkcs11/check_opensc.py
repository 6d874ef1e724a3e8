"""pkcs11-tool: its own test commands, and its commands that make, use, wrap and delete objects."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from outcome import Outcome
from part import main
from places import LABEL, Place, need
from steps import Steps
from workshop import Workshop

MESSAGE = b"what is signed, sealed and delivered\n" * 3
# mechanism of pkcs11-tool, key type it wants
SIGNATURES = (
    ("SHA256-RSA-PKCS", "rsa:2048"),
    ("SHA384-RSA-PKCS", "rsa:2048"),
    ("SHA256-RSA-PKCS-PSS", "rsa:2048"),
    ("RSA-PKCS", "rsa:2048"),
    ("ECDSA-SHA256", "EC:prime256v1"),
    ("ECDSA-SHA384", "EC:secp384r1"),
    ("EDDSA", "EC:edwards25519"),
)


def suite(place: Place, _: Workshop) -> Outcome:
    tool = need("pkcs11-tool")
    steps = Steps()
    message = place.folder / "message"
    message.write_bytes(MESSAGE)

    def run(*words: object, login: bool = True) -> str:
        who = ("--login", "--pin", place.pins.user) if login else ()
        done = place.run(tool, "--module", place.module, "--token-label", LABEL, *who, *words)
        if done.returncode or "error:" in done.stdout:
            raise AssertionError(done.stdout.strip()[-300:])
        return done.stdout

    for flag in ("--show-info", "--list-slots", "--list-token-slots", "--list-mechanisms", "--list-interfaces"):
        steps.step(flag, lambda flag=flag: run(flag, login=False))
    steps.step("--test", lambda: _ended(run("--test"), "No errors"))
    on_p256 = ("--session-rw", "--id", "70", "--key-type", "EC:prime256v1")
    steps.step("--test-ec", lambda: _ended(run("--test-ec", *on_p256), "==> OK"))
    steps.step("--test-threads", lambda: run("--test-threads", "IN", login=False))
    steps.step("--test-fork", lambda: run("--test-fork", login=False))
    for number, (mechanism, key_type) in enumerate(SIGNATURES):
        steps.step(f"sign {mechanism}", _signing(run, place.folder, f"8{number}", mechanism, key_type))
    for key_type in ("AES:16", "AES:32"):
        steps.step(f"--keygen {key_type}", lambda key_type=key_type: _cipher(run, place.folder, key_type))
    steps.step("--wrap --unwrap", lambda: _wrapping(run, place.folder))
    steps.step("write, read, delete data", lambda: _data(run, place.folder))
    steps.step("--change-pin", lambda: _change_pin(run, place))
    return steps.outcome()


Run = Callable[..., str]


def _ended(output: str, words: str) -> None:
    if "ERR:" in output or not output.strip().endswith(words):
        raise AssertionError(output.strip()[-400:])


def _signing(run: Run, folder: Path, key: str, mechanism: str, key_type: str) -> Callable[[], None]:
    def step() -> None:
        signature, message = folder / f"{key}.sig", folder / "message"
        run("--keypairgen", "--key-type", key_type, "--id", key, "--label", f"pair {key}")
        common = ("--id", key, "--mechanism", mechanism, "--input-file", message)
        run("--sign", *common, "--output-file", signature)
        if "Signature is valid" not in run("--verify", *common, "--signature-file", signature):
            raise AssertionError("the signature is not valid")
        run("--delete-object", "--type", "privkey", "--id", key)
        run("--delete-object", "--type", "pubkey", "--id", key)

    return step


def _cipher(run: Run, folder: Path, key_type: str) -> None:
    sealed, opened, message = folder / "sealed", folder / "opened", folder / "message"
    run("--keygen", "--key-type", key_type, "--id", "90", "--label", "a cipher")
    common = ("--id", "90", "--mechanism", "AES-CBC-PAD", "--iv", "00" * 16)
    run("--encrypt", *common, "--input-file", message, "--output-file", sealed)
    run("--decrypt", *common, "--input-file", sealed, "--output-file", opened)
    if opened.read_bytes() != MESSAGE:
        raise AssertionError("what was decrypted is not what was encrypted")
    run("--delete-object", "--type", "secrkey", "--id", "90")


def _wrapping(run: Run, folder: Path) -> None:
    wrapped = folder / "wrapped"
    run("--keygen", "--key-type", "AES:32", "--id", "91", "--label", "KEK", "--usage-wrap")
    run("--keygen", "--key-type", "AES:16", "--id", "92", "--label", "inner", "--extractable")
    common = ("--mechanism", "AES-CBC-PAD", "--iv", "00" * 16, "--id", "91")
    run("--wrap", *common, "--application-id", "92", "--output-file", wrapped)
    run("--unwrap", *common, "--application-id", "93", "--input-file", wrapped, "--key-type", "AES:")
    for key in ("91", "92", "93"):
        run("--delete-object", "--type", "secrkey", "--id", key)


def _data(run: Run, folder: Path) -> None:
    back = folder / "back"
    name = ("--type", "data", "--label", "some data")
    run("--write-object", folder / "message", *name)
    run("--read-object", *name, "--output-file", back)
    if back.read_bytes() != MESSAGE:
        raise AssertionError("what was read is not what was written")
    run("--delete-object", *name)


def _change_pin(run: Run, place: Place) -> None:
    for old, new in ((place.pins.user, "another-pin"), ("another-pin", place.pins.user)):
        run("--login", "--pin", old, "--change-pin", "--new-pin", new, login=False)


if __name__ == "__main__":
    sys.exit(main("pkcs11-tool", suite))
