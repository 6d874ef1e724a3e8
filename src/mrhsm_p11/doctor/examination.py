"""Run every check: in the order of the tables, none stopped by another's failure."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from mrhsm_p11 import log
from mrhsm_p11.doctor import checks
from mrhsm_p11.doctor.findings import Check, Finding, Result, Severity, broken, not_checked
from mrhsm_p11.doctor.subjects import Node, Token
from mrhsm_p11.errors import CryptokiError, MrhsmError

T = TypeVar("T")
Began = Callable[[str], None]


def examine(
    node: Node, began: Began = lambda _: None, wanted: Callable[[Token], bool] = lambda _: True
) -> tuple[list[Result], list[Token]]:
    """Return what was found of the node and of each wanted token, and these; `began` is told each check's title."""
    of_node = _run(checks.NODE, node, "", (), began)
    results = list(of_node)
    tokens = [token for token in (Token(node, entry) for entry in node.entries) if wanted(token)]
    for token in tokens:
        rows = [check for check in checks.TOKEN if check.store in ("", token.entry.store)]
        results += _run(rows, token, token.entry.serial, of_node, began)
    return results, tokens


def _run(rows: Iterable[Check[T]], subject: T, name: str, earlier: Sequence[Result], began: Began) -> list[Result]:
    done = {result.check: result for result in earlier}
    results = []
    for check in rows:
        began(check.title)
        stopped = [done[need].title for need in check.needs if need in done and done[need].worst in _STOPS]
        findings = (not_checked(f"not checked, see {stopped[0]}"),) if stopped else tuple(_findings(check, subject))
        results.append(Result(check.name, check.title, name, findings))
        done[check.name] = results[-1]
    return results


_STOPS = (Severity.NOT_CHECKED, Severity.BROKEN)


def _findings(check: Check[T], subject: T) -> Iterable[Finding]:
    try:
        yield from check.run(subject)
    except (MrhsmError, CryptokiError) as error:
        yield broken(str(error), "see the log for more")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        yield broken(f"{where}{error.strerror or error}", "see that this user may use it")
    except Exception as error:  # noqa: BLE001  (a fault of ours must not hide what the other checks find)
        log.error(f"doctor {check.name}: {type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}")
        yield broken(f"the check itself failed ({type(error).__name__})", "the log says more: report it")
