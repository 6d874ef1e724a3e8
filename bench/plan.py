"""What is measured: a row an operation, with the sizes and the numbers of threads that it is tried at."""

from __future__ import annotations

from typing import NamedTuple

KEY_BYTES = 32
SIZES = (16, 256, 1024, 16 << 10, 1 << 20)
FEW_SIZES = (16, 1024, 1 << 20)  # with several threads
THREADS = (1, 2, 4, 8)
OBJECTS = (10, 1000, 10_000)  # that a search looks through
MOST_AT_SERVER = 1000  # the trial appliance would spend minutes on more, and it is not what is measured


class Cell(NamedTuple):
    """One measurement. `size`: bytes of input or output; 0 where the operation has a size of its own."""

    operation: str
    size: int
    threads: int


class Row(NamedTuple):
    """An operation of bench/operations.c."""

    operation: str
    sizes: tuple[int, ...] = ()
    threads: tuple[int, ...] = THREADS

    def cells(self) -> list[Cell]:
        """Return its cells, those of one thread first."""
        if not self.sizes:
            return [Cell(self.operation, 0, threads) for threads in self.threads]
        return [
            Cell(self.operation, size, threads)
            for threads in self.threads
            for size in (self.sizes if threads == 1 else FEW_SIZES)
            if size in self.sizes
        ]


ROWS = (
    Row("AES-CBC-PAD", SIZES),
    Row("AES-GCM", SIZES),
    Row("HMAC-SHA256", SIZES),
    Row("SHA-256", SIZES),
    Row("random", (16, 1024)),
    Row("wrap"),
    Row("unwrap"),
    Row("sign RSA-2048"),
    Row("verify RSA-2048"),
    Row("OAEP decrypt RSA-2048", threads=(1, 2)),
    Row("sign P-256"),
    Row("verify P-256"),
    Row("sign P-384", threads=(1,)),
    Row("verify P-384", threads=(1,)),
    Row("sign Ed25519", threads=(1,)),
    Row("verify Ed25519", threads=(1,)),
    Row("generate AES"),
    Row("generate P-256", threads=(1, 4)),
    Row("generate RSA-2048", threads=(1,)),
    Row("session info"),
    Row("library info", threads=(1,)),
    Row("3 attributes"),
)
FIND_ROWS = (Row("find one", threads=(1,)), Row("find all", threads=(1,)))
CELLS = tuple(cell for row in ROWS for cell in row.cells())
FIND_CELLS = tuple(cell for row in FIND_ROWS for cell in row.cells())


def size_text(size: int) -> str:
    """Return a number of bytes as people write it."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def cell_text(cell: Cell) -> str:
    """Return operation and size."""
    return f"{cell.operation}, {size_text(cell.size)}" if cell.size else cell.operation
