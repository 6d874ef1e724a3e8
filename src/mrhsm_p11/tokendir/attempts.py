"""Wrong PINs on this node: a small file beside the token, outside what is signed and not shared between nodes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

from mrhsm_p11 import log
from mrhsm_p11.errors import MrhsmError
from mrhsm_p11.tokendir import codec
from mrhsm_p11.tokendir.files import DirectoryError, DirectoryMissing, FileMissing, TokenDirectory
from mrhsm_p11.tokendir.sealing import PinRecord, Role


@dataclass(frozen=True, slots=True)
class Count:
    """Wrong PINs in a row against one generation of a PIN."""

    generation: int = 0
    wrong: int = 0


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What this node remembers of a token."""

    so: Count = field(default_factory=Count)
    user: Count = field(default_factory=Count)
    seen_generation: int = 0  # the newest signed settings that an SO command has seen here


_memory: dict[tuple[str, str], NodeFacts] = {}  # where the file cannot be written
_memory_lock = threading.Lock()
os.register_at_fork(after_in_child=lambda: globals().update(_memory_lock=threading.Lock()))  # a thread may hold it


def read(directory: TokenDirectory, serial: str) -> NodeFacts:
    """Return what is known; a file that is missing or damaged says nothing."""
    if (directory.path, serial) in _memory:
        return _memory[directory.path, serial]
    try:
        return codec.from_json(NodeFacts, codec.parse(directory.read(file_name(serial))))
    except (DirectoryMissing, FileMissing):
        return NodeFacts()
    except (DirectoryError, codec.Malformed) as error:
        log.warning(f"{directory.path}/{file_name(serial)} is ignored: {error}")
        return NodeFacts()


def wrong(directory: TokenDirectory, serial: str, role: Role, record: PinRecord) -> int:
    """Return how many wrong PINs in a row were tried on this record."""
    return _wrong(read(directory, serial), role, record)


def count_wrong(directory: TokenDirectory, serial: str, role: Role, record: PinRecord) -> None:
    """Count one more wrong PIN, on disk where that can be written, else in memory."""

    def one_more(facts: NodeFacts) -> NodeFacts:
        return _with(facts, role, Count(record.generation, _wrong(facts, role, record) + 1))

    _change(directory, serial, one_more)


def clear(directory: TokenDirectory, serial: str, role: Role, record: PinRecord) -> None:
    """Forget the wrong PINs after a right one."""
    if wrong(directory, serial, role, record):
        _change(directory, serial, lambda facts: _with(facts, role, Count(record.generation, 0)))


def remember_generation(directory: TokenDirectory, serial: str, generation: int) -> None:
    """Note the generation of settings seen last, so that older ones are noticed."""
    if read(directory, serial).seen_generation != generation:
        _change(directory, serial, lambda facts: replace(facts, seen_generation=generation))


def file_name(serial: str) -> str:
    return f"{serial}/node-{_node()}.json"


@cache
def _node() -> str:
    from hashlib import sha256

    try:
        with open("/etc/machine-id", "rb") as file:
            identity = file.read(64)
    except OSError:
        identity = b""
    return sha256(identity + os.uname().nodename.encode()).hexdigest()[:12]


def _change(directory: TokenDirectory, serial: str, change: Callable[[NodeFacts], NodeFacts]) -> None:
    try:
        with directory.lock(folder=serial):
            facts = change(read(directory, serial))
            directory.write(file_name(serial), codec.canonical(codec.to_json(facts)))
            _memory.pop((directory.path, serial), None)
    except MrhsmError as error:
        with _memory_lock:
            _memory[directory.path, serial] = change(read(directory, serial))
        log.info(f"what this node remembers of token {serial} is kept in this process only: {error}")


def _wrong(facts: NodeFacts, role: Role, record: PinRecord) -> int:
    count = facts.so if role == "so" else facts.user
    return count.wrong if count.generation == record.generation else 0


def _with(facts: NodeFacts, role: Role, count: Count) -> NodeFacts:
    return replace(facts, so=count) if role == "so" else replace(facts, user=count)
