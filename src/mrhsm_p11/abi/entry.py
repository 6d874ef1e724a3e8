"""The one wrapper around every function, and its registration behind the C stubs."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import ModuleType, TracebackType
from typing import Any

from mrhsm_p11 import answers, datapath, deadline, hostcalls, log
from mrhsm_p11.abi import templates
from mrhsm_p11.abi._prototypes import OFFERED, PROTOTYPES
from mrhsm_p11.abi.datapath import NativePath
from mrhsm_p11.abi.marshal import Arguments, crossings
from mrhsm_p11.abi.plan import plan
from mrhsm_p11.constants import CKR
from mrhsm_p11.crypto import engine
from mrhsm_p11.errors import CryptokiError, DeviceError, MrhsmError
from mrhsm_p11.functions import crypto
from mrhsm_p11.token import provider

Handler = Callable[..., Any]
CFunction = Callable[..., int]
Refused = Callable[[int], None]

MODULES = ("general", "sessions", "objects", "crypto", "keys")
# Imported when a function that has no handler above is first called: most hosts never do.
LATER: tuple[str, ...] = (
    "asynchronous",
    "derive",
    "encapsulation",
    "messages",
    "sealing",
    "states",
    "verify_signature",
)
BEFORE_INITIALIZE = frozenset({"C_Initialize"})


def register(ffi: Any, lib: Any) -> None:
    """Put a wrapped handler behind each function that the library exports."""
    handlers = find_handlers(modules(MODULES))

    def put(name: str, function: CFunction) -> None:
        ffi.def_extern(name=f"py_{name}", error=CKR.GENERAL_ERROR, onerror=_log_failure)(function)

    for name in OFFERED:
        if name in BEFORE_INITIALIZE:
            put(name, wrap(ffi, name, handlers[name]))
        else:
            put(name, later(ffi, name, handlers, partial(put, name)))
    hostcalls.install(
        around_wait=lambda: _Around((lib.sigpipe_block, lib.gate_pause), (lib.gate_resume, lib.sigpipe_restore)),
        around_io=lambda: _Around((lib.sigpipe_block,), (lib.sigpipe_restore,)),
        ending=lib.process_ends,
    )
    answers.install(lib.answers_end)
    templates.install(lib.template_flat)
    datapath.offer(NativePath(ffi, lib))
    if lib.python_is_ours():
        engine.warm_up()  # a first use under way while the host forks would leave the child a lock held for ever


def modules(names: tuple[str, ...]) -> list[ModuleType]:
    return [importlib.import_module(f"mrhsm_p11.functions.{name}") for name in names]


def snake_case(name: str) -> str:
    """Return the handler's name of a function: C_InitPIN -> init_pin."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.removeprefix("C_")).lower()


def find_handlers(modules: list[ModuleType]) -> dict[str, Handler]:
    """Return handlers by C name. Raises ImportError for a public function that no prototype asks for."""
    names = {snake_case(name): name for name in PROTOTYPES}
    found: dict[str, Handler] = {}
    for module in modules:
        for public in module.__all__:
            if public not in names:
                raise ImportError(f"{module.__name__}.{public} is the handler of no function in pkcs11f.h")
            found[names[public]] = getattr(module, public)
    return found


def refusal(name: str) -> Refused | None:
    """Return what ends the operations that a function goes on with, called with the session; None where it has none."""
    function = snake_case(name)
    return partial(crypto.refused, function) if function in crypto.CONTINUES | crypto.MESSAGES else None


def wrap(ffi: Any, name: str, handler: Handler, refused: Refused | None = None) -> CFunction:
    """Return the function behind C stub `name`: arguments across, handler, result back, and every failure a CKR.

    `refused` is told the session when arguments do not come across.
    """
    steps = crossings(ffi, plan(name, PROTOTYPES[name]))
    checks = tuple(step.check for step in steps if step.check)
    reads = tuple(step.read for step in steps if step.read)
    only = reads[0] if len(reads) == 1 else None  # half of all functions; saves a list each
    write = _one_write(tuple(step.write for step in steps if step.write))
    any_time = name in BEFORE_INITIALIZE
    in_session = PROTOTYPES[name][0][0] == "CK_SESSION_HANDLE"

    def call(*args: Any) -> int:
        current = provider.current
        if current is None and not any_time:
            return CKR.CRYPTOKI_NOT_INITIALIZED
        try:
            try:
                for check in checks:
                    check(args)
                given = (only(args),) if only else [read(args) for read in reads]
            except CryptokiError:
                if refused:
                    refused(args[0])
                raise
            with deadline.limit(current.config.deadline_s if current else deadline.DEFAULT_S):
                result = handler(*given)
            return write(args, result)
        except BaseException as error:  # noqa: BLE001 - beyond here is C: every failure becomes a code
            if in_session and isinstance(error, DeviceError):
                _remember(args[0], error)
            return _answer(name, error)

    return call


def unsupported(*args: Any) -> int:
    """Answer for a function that has no handler."""
    return CKR.CRYPTOKI_NOT_INITIALIZED if provider.current is None else CKR.FUNCTION_NOT_SUPPORTED


def later(ffi: Any, name: str, handlers: dict[str, Handler], put: Callable[[CFunction], None]) -> CFunction:
    """Return the function behind C stub `name` until its first call, which puts the wrapped handler in its place.

    A host calls a third of the functions; wrapping all of them would cost each host's start.
    """

    def call(*args: Any) -> int:
        if provider.current is None:
            return CKR.CRYPTOKI_NOT_INITIALIZED
        handler = handlers.get(name) or find_handlers(modules(LATER)).get(name)
        function = wrap(ffi, name, handler, refusal(name)) if handler else unsupported
        put(function)
        return function(*args)

    return call


def _one_write(writes: tuple[Callable[[Arguments, Any], int], ...]) -> Callable[[Arguments, Any], int]:
    if not writes:
        return lambda args, result: CKR.OK
    if len(writes) == 1:
        return writes[0]

    def write(args: Arguments, results: tuple[Any, ...]) -> int:
        return max(each(args, result) for each, result in zip(writes, results, strict=True))

    return write


def _remember(session: int, fault: DeviceError) -> None:
    """Keep which fault it was for C_GetSessionInfo, in a session that is still there."""
    with suppress(CryptokiError):
        provider.session(session).device_error = fault.device_error
        answers.changed()


def _answer(name: str, error: BaseException) -> int:
    """Return the CKR of a failure, and log it as loudly as it deserves."""
    if isinstance(error, CryptokiError):
        if isinstance(error, DeviceError):
            log.warning(f"{name}: {error}")
        elif log.enabled("debug"):
            log.debug(f"{name}: CKR_{CKR.name(error.ckr)}: {error}")
        return error.ckr
    if isinstance(error, MrhsmError):
        log.error(f"{name}: {error}")
        return CKR.DEVICE_ERROR
    if isinstance(error, MemoryError):
        return CKR.HOST_MEMORY
    log.error(f"{name}: {_where(type(error), error.__traceback__)}")
    return CKR.GENERAL_ERROR


def _where(kind: type[BaseException], trace: TracebackType | None) -> str:
    """Describe an unforeseen failure by its class and place: its text, and the values around it, may be secret."""
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return f"{kind.__name__} at " + " > ".join(places)


def _log_failure(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log what failed outside the wrapper; cffi then answers CKR_GENERAL_ERROR."""
    log.error(f"C boundary: {_where(kind, trace)}")


class _Around:
    """Call some of the C front's functions before and after a piece of work."""

    __slots__ = ("_after", "_before")

    def __init__(self, before: tuple[Callable[[], None], ...], after: tuple[Callable[[], None], ...]) -> None:
        self._before, self._after = before, after

    def __enter__(self) -> None:
        for call in self._before:
            call()

    def __exit__(self, *failure: object) -> None:
        for call in self._after:
            call()
