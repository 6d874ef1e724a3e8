"""`mrhsm`: find the command, run it, and turn what goes wrong into one sentence and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

DONE, FAILED, USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0 when done, 1 when it failed, 2 for a command line that cannot be meant."""
    words = list(sys.argv[1:] if argv is None else argv)
    from mrhsm_p11.cli.options import UsageError
    from mrhsm_p11.errors import CryptokiError, MrhsmError

    try:
        code = _run(words)
        sys.stdout.flush()
    except UsageError as error:
        return _fail(error, USAGE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again when it exits
        return FAILED
    except OSError as error:
        return _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror), FAILED)
    except (MrhsmError, CryptokiError) as error:
        return _fail(error, getattr(error, "exit_code", FAILED))
    except KeyboardInterrupt:
        return _fail("interrupted", FAILED)
    except Exception as error:  # noqa: BLE001  (a fault of ours: the operator gets a sentence, the log the traceback)
        return _fail(_logged(error), FAILED)
    return code


def _run(words: Sequence[str]) -> int:
    from mrhsm_p11 import config, log
    from mrhsm_p11.cli.commands import COMMANDS
    from mrhsm_p11.cli.options import HELP, UsageError, nearest, parse, usage

    table = {command.name: command for command in COMMANDS}
    if not words:
        raise UsageError(f"a command is needed: {', '.join(table)}")
    if words[0] in (*HELP, "help"):
        print("usage: mrhsm command [options]\n")
        width = max(map(len, table)) + 2
        print("\n".join(f"  {command.name:<{width}}{command.summary}" for command in COMMANDS))
        print("\nmrhsm command -help lists a command's options.")
        return DONE
    command = table.get(words[0])
    if command is None:
        near = nearest(words[0], tuple(table))
        raise UsageError(f"unknown command {words[0]!r}: {f'did you mean {near}?' if near else 'see mrhsm -help'}")
    if any(word in HELP for word in words[1:]):
        print(usage(command))
        return DONE
    given = parse(command, words[1:])
    try:
        settings = config.load()
    except config.ConfigurationError:
        if command.needs_settings:
            raise
        settings = config.places()
    log.open_target(settings.log_path, settings.log_level)
    return command.run(given, settings) or DONE


def _fail(why: object, code: int) -> int:
    text = str(why)
    print(text[:1].upper() + text[1:], file=sys.stderr)
    return code


def _logged(error: Exception) -> str:
    import traceback

    from mrhsm_p11 import log

    log.error(f"mrhsm: {type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}")
    return f"internal error ({type(error).__name__}): the log says more"


if __name__ == "__main__":
    sys.exit(main())
