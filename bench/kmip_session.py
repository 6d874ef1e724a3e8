"""What the session layer is worth: failover among three servers, and calls a second beside a connection per call.

    python bench/kmip_session.py [failover|rate] [READS]

Everything runs on loopback against mrhsm-appliance; round trips are made by a proxy that holds each piece back. The
appliance is PyKMIP in one Python process: at 0 ms it is the limit, so the ratios tell more than the numbers.
"""

from __future__ import annotations

import itertools
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from fix_appliance import Appliance, Certificates
from fix_faults import Fault, FaultProxy

from mrhsm_p11.deadline import Deadline
from mrhsm_p11.kmip.attributes import attribute
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import KMIPError
from mrhsm_p11.kmip.pool import Pool
from mrhsm_p11.kmip.transport import Endpoint, Identity
from mrhsm_p11.kmip.vocabulary import CryptographicAlgorithm, ObjectType
from mrhsm_p11.secret import Secret

THREADS, SERVERS = 8, 3
READS = 1000  # in each of three scenarios
DEADLINE_S = 10.0
ROUND_TRIPS_MS, WIDTHS, MEASURED_S = (0, 1, 20), (1, 8, 64), 2.0


def identity(certificates: Certificates) -> Identity:
    key = Secret(certificates.key().read_bytes())
    return Identity(certificates.ca.read_bytes(), certificates.certificate().read_bytes(), key)


def make_key(server: Appliance, who: Identity) -> str:
    client = Client(Pool([Endpoint(server.host, server.port)], who, (1, 4)))
    wanted = (
        ("Cryptographic Algorithm", CryptographicAlgorithm.AES),
        ("Cryptographic Length", 256),
        ("Cryptographic Usage Mask", 12),
    )
    attributes = [attribute(name, value) for name, value in wanted]
    uid = client.create(ObjectType.SYMMETRIC_KEY, attributes, deadline=Deadline(DEADLINE_S))
    client.pool.close()
    return uid


# ---- failover


class Trial:
    """Eight threads that read a key from a group of three while something happens to its first server."""

    def __init__(self, servers: list[Appliance], who: Identity, uid: str, reads: int) -> None:
        self.servers = servers
        self.reads = reads
        self.proxies = [FaultProxy(server.host, server.port) for server in servers]
        self.client = Client(Pool([Endpoint(proxy.host, proxy.port) for proxy in self.proxies], who, (1, 4)))
        self.uid = uid
        self.calls: list[tuple[int, float, float, bool]] = []  # thread, begin, end, answered
        self.left = itertools.count(1)

    def read(self, thread: int) -> None:
        while next(self.left) <= self.reads:
            began = time.monotonic()
            try:
                good = bool(self.client.get(self.uid, deadline=Deadline(DEADLINE_S)).managed_object)
            except KMIPError:
                good = False
            self.calls.append((thread, began, time.monotonic(), good))

    def run(self, befalls: Callable[[Trial], None]) -> tuple[float, float, float, int]:
        """Return seconds to a first good answer after it (fastest thread, median, slowest), and calls that failed."""
        with ThreadPoolExecutor(THREADS) as threads:
            work = [threads.submit(self.read, number) for number in range(THREADS)]
            while len(self.calls) < self.reads // 3:
                threading.Event().wait(0.01)
            at = time.monotonic()
            befalls(self)
            for each in work:
                each.result()
        for proxy in self.proxies:
            proxy.close()
        firsts = [
            min(end for thread, _, end, good in self.calls if good and thread == number and end > at) - at
            for number in range(THREADS)
        ]
        failed = sum(not good for *_, good in self.calls)
        return min(firsts), statistics.median(firsts), max(firsts), failed


def killed(trial: Trial) -> None:
    trial.servers[0].kill()
    trial.proxies[0].accept(False)
    trial.proxies[0].cut()


def black_holed(trial: Trial) -> None:
    trial.proxies[0].default = Fault(black_hole=True)
    trial.proxies[0].cut()


def hanging(trial: Trial) -> None:
    process = trial.servers[0].process
    assert process is not None
    process.send_signal(signal.SIGSTOP)


def failover(folder: Path, certificates: Certificates, who: Identity, reads: int) -> None:
    print(f"failover, {SERVERS} servers, {THREADS} threads, {reads} reads each, deadline {DEADLINE_S:g} s")
    print(f"  {'first server is':16}{'fastest':>10}{'median':>10}{'slowest':>10}   failed reads")
    for number, befalls in enumerate((killed, black_holed, hanging)):
        servers = []
        for place in range(SERVERS):
            own = folder / f"failover-{number}-{place}"
            own.mkdir()
            servers.append(Appliance(own, certificates))
        servers[0].start()
        uid = make_key(servers[0], who)
        servers[0].stop()
        for server in servers[1:]:
            shutil.copy(servers[0].store, server.store)
        for server in servers:
            server.start()
        fastest, median, slowest, failed = Trial(servers, who, uid, reads).run(befalls)
        times = "".join(f"{seconds * 1e3:7.0f} ms" for seconds in (fastest, median, slowest))
        print(f"  {befalls.__name__.replace('_', '-'):16}{times}   {failed} of {reads}", flush=True)
        for server in servers:
            server.kill()


# ---- calls a second


def per_second(call: Callable[[], object], threads: int) -> float:
    over = time.monotonic() + MEASURED_S

    def repeat() -> int:
        done = 0
        while time.monotonic() < over:
            call()
            done += 1
        return done

    began = time.monotonic()
    with ThreadPoolExecutor(threads) as workers:
        counts = [each.result() for each in [workers.submit(repeat) for _ in range(threads)]]
    return sum(counts) / (time.monotonic() - began)


def rate(folder: Path, certificates: Certificates, who: Identity, _: int) -> None:
    own = folder / "rate"
    own.mkdir()
    server = Appliance(own, certificates)
    server.start()
    uid = make_key(server, who)
    proxy = FaultProxy(server.host, server.port)
    where = [Endpoint(proxy.host, proxy.port)]
    print("Get, calls a second: 4 and 16 connections kept, a connection for each call; ratio of the first to the last")
    print(f"  {'round trip':>10}{'threads':>9}{'kept 4':>9}{'kept 16':>9}{'each':>9}{'ratio':>8}")
    for round_trip_ms, threads in itertools.product(ROUND_TRIPS_MS, WIDTHS):
        proxy.default = Fault(delay_s=round_trip_ms / 1e3)
        pools = [Pool(where, who, (1, 4), size=size) for size in (4, 16)]

        def get(pool: Pool) -> None:
            Client(pool).get(uid, deadline=Deadline(60))

        def alone() -> None:
            pool = Pool(where, who, (1, 4), connect_s=60)
            get(pool)
            pool.close()

        four, sixteen = (per_second(lambda pool=pool: get(pool), threads) for pool in pools)  # type: ignore[misc]
        each = per_second(alone, threads)
        for pool in pools:
            pool.close()
        print(
            f"  {round_trip_ms:7} ms{threads:9}{four:9.0f}{sixteen:9.0f}{each:9.0f}{four / each:7.1f}x",
            flush=True,
        )
    proxy.close()
    server.stop()


def main() -> None:
    wanted = [word for word in sys.argv[1:] if not word.isdigit()] or ["failover", "rate"]
    reads = next((int(word) for word in sys.argv[1:] if word.isdigit()), READS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificates = Certificates(folder / "certificates")
        who = identity(certificates)
        for part in wanted:
            {"failover": failover, "rate": rate}[part](folder, certificates, who, reads)


if __name__ == "__main__":
    main()
