"""mrhsm-appliance: start a KMIP appliance for trial and tests by hand."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mrhsm_p11.appliance.imitation import options_of
from mrhsm_p11.appliance.options import VERSIONS, Options
from mrhsm_p11.config import PROFILES
from mrhsm_p11.errors import MrhsmError

if TYPE_CHECKING:
    from mrhsm_p11.appliance.listener import Listener

NOTICE = """\
##############################################################################
FOR TRIAL AND TESTS ONLY. Keys lie unencrypted in {store}
and whoever can read the client's key below can fetch them.
##############################################################################
CA certificate    : {certs}/ca.pem
Client certificate: {certs}/client.pem
Client private key: {certs}/client.key"""
MISSING = "mrhsm-appliance needs PyKMIP's server: install it with pip install 'mrhsm-p11[appliance]'"
HELP = {
    "host": "loopback address to listen on (127.0.0.1)",
    "port": "port (any free one)",
    "store": "SQLite file with the keys (a temporary one)",
    "certs": "folder of the certificates, made where there are none (a temporary one)",
    "users": "file of name:password lines, one of which every request must carry (nobody is asked)",
    "server": "name of the server certificate in it (server)",
    "imitate": f"product to pass for, as its documents describe it: {', '.join(PROFILES)}",
    "vendor": "what Query says of the vendor (mrhsm trial appliance)",
    "versions": "KMIP versions spoken (1.0,1.1,1.2,1.3,1.4,2.0,2.1)",
    "nine": "refuse all operations but the nine that a server must have",
    "refuse_operations": "operations refused: REKEY,ADD_ATTRIBUTE,...",
    "refuse_types": "object types that Register refuses, as in OPAQUE_DATA",
    "refuse_attributes": "attributes refused, x- for custom ones",
    "refuse_formats": "key formats that Register refuses, as in PKCS_8",
    "refuse_wrapping": "refuse Get with a Key Wrapping Specification",
    "ignore_filters": "attributes that Locate takes no notice of",
    "page": "identifiers that Locate names at most (any number)",
    "unique_names": "refuse a Name that another object has",
    "active_only": "Get refuses keys that are not active",
    "same_name": "hang up on a user name that is not the certificate's",
    "keep_destroyed": "keep the attributes of destroyed objects",
    "rekey_deactivates": "Re-key deactivates the replaced key",
    "tls12": "no TLS 1.3",
    "limit": "bytes of one message (8388608)",
    "idle": "seconds after which an idle connection is cut (never)",
    "refuse_batches": "refuse messages of more than one operation",
    "nosync": "do not wait for the disk",
    "with_parent": "end when standard input ends",
}


def flag(name: str) -> str:
    """Return the command-line option of one field of Options."""
    return "-" + name.replace("_", "") if name != "with_parent" else "-with-parent"


def parse(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(
        prog="mrhsm-appliance", description=__doc__, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    for option in dataclasses.fields(Options):
        default = option.default
        if isinstance(default, bool):
            parser.add_argument(flag(option.name), dest=option.name, action="store_true", help=HELP[option.name])
        else:
            kind = _names if isinstance(default, tuple) else Path if default is None else type(default)
            parser.add_argument(flag(option.name), dest=option.name, type=kind, help=HELP[option.name])
    given = vars(parser.parse_args(arguments))
    imitated = options_of(given["imitate"], VERSIONS) if given.get("imitate") else {}
    return Options(**{**imitated, **given})


def main() -> int:
    try:
        return run(parse(sys.argv[1:]))
    except MrhsmError as problem:
        print(f"mrhsm-appliance: {problem}", file=sys.stderr)
        return 1


def run(options: Options) -> int:
    """Serve until SIGTERM, SIGINT or, where asked, the end of standard input."""
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before there are threads, which inherit it
    with contextlib.ExitStack() as stack:
        scratch = ""
        if options.certs is None or options.store is None:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="mrhsm-appliance-"))
        certs = (options.certs or Path(scratch, "certs")).absolute()
        store = (options.store or Path(scratch, "store.sqlite")).absolute()
        listener = _listener(options, certs, store)
        threading.Thread(target=listener.serve, daemon=True).start()
        if options.with_parent:
            threading.Thread(target=_await_parent, daemon=True).start()
        print(NOTICE.format(store=store, certs=certs))
        print(f"READY {listener.host} {listener.port}", flush=True)
        signal.sigwait(ends)
    os._exit(0)  # sessions may be in the middle of a request: the store survives that, waiting for them does not


def _listener(options: Options, certs: Path, store: Path) -> Listener:
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s", level=logging.WARNING)
    logging.getLogger("mrhsm-appliance").setLevel(logging.INFO)
    warnings.simplefilter("ignore")  # deprecations inside PyKMIP
    try:
        from mrhsm_p11.appliance import certificates, codec, engine, listener
    except ImportError as problem:
        raise MrhsmError(MISSING) from problem
    try:
        os.close(os.open(store, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as problem:
        raise MrhsmError(f"cannot open the store {store}: {problem.strerror}") from problem
    codec.apply()
    if not (certs / "ca.pem").exists():
        certificates.make(certs)
    kmip = engine.ApplianceEngine(options, str(store), durable=options.store is not None and not options.nosync)
    return listener.Listener(kmip, options, certs)


def _await_parent() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


if __name__ == "__main__":
    sys.exit(main())
