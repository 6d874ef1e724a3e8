"""Debian's ZooKeeper as an ensemble of three, its TLS key and certificate in our token, while appliances come and go.

Quorum and clients speak mutual TLS with a key that SunPKCS11 finds in the token; keys are not cached, so that every
handshake needs an appliance. Two appliances serve the same objects: one is lost and comes back, then the other, and
the servers are restarted one by one, while a client writes and reads.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from node import Appliance, Failed, Node, appliances, free_port, need

HERE = Path(__file__).resolve().parent
JARS = ":".join(
    f"/usr/share/java/{name}.jar"
    for name in ("zookeeper", "zookeeper-jute", "netty-all", "netty-codec", "netty-resolver", "slf4j-simple")
)
SERVERS = 3
QUORUM_S = 150.0
WATCH_S = 12.0
SETTINGS = "[keys]\ncache_seconds = 0\n"
JVM = ("-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
LABEL = "zookeeper"
REPORT = re.compile(r"kept (\d+) (\d+) sessions (\d+) (\d+) longest (\d+) errors (\S+)")


@dataclass(frozen=True)
class Seen:
    """What the client counted over some seconds."""

    seconds: float
    kept: int
    kept_failed: int
    sessions: int
    sessions_failed: int
    longest_ms: int
    errors: str

    def __str__(self) -> str:
        return (
            f"{self.kept:6} writes+reads, {self.kept_failed:3} failed; {self.sessions:4} new sessions, "
            f"{self.sessions_failed:3} failed; longest {self.longest_ms} ms; errors {self.errors}"
        )


def make_certificate(node: Node, folder: Path) -> Path:
    """Make a key in the token and have a trial CA sign its certificate; return the CA's own."""
    tool = ("pkcs11-tool", "--module", node.module, "--token-label", node.label, "--login", "--id", "5a4b")
    authority, root, key = ("-subj", "/CN=Trial CA"), folder / "ca.pem", folder / "ca.key"
    public, leaf, names = folder / "zk.pub", folder / "zk.der", folder / "names"
    node.run(*tool, "--keypairgen", "--key-type", "EC:prime256v1", "--label", LABEL, "--usage-sign")
    node.run(*tool, "--read-object", "--type", "pubkey", "--output-file", public)
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    node.run("openssl", "req", "-x509", *curve, "-keyout", key, "-out", root, "-days", "30", *authority)
    names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
    signed = ("-CA", root, "-CAkey", key, "-days", "30", "-extfile", names, "-outform", "DER", "-out", leaf)
    node.run("openssl", "x509", "-new", "-force_pubkey", public, "-subj", "/CN=localhost", *signed)
    node.run(*tool, "--write-object", leaf, "--type", "cert", "--label", LABEL)
    return root


class Jvm:
    """A JVM with a log of its own, started with the module and ended by its process id."""

    def __init__(self, node: Node, folder: Path, options: list[str], words: list[str]) -> None:
        self.node, self.folder, self.options, self.words = node, folder, options, words
        self.log = folder / "log.txt"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["java", *JVM, *self.options, *self.words],
                env=self.node.environment, cwd=self.folder, text=True, bufsize=1,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE if self.words[0] == "Visitor" else log, stderr=log,
            )  # fmt: skip

    def joined(self) -> int:
        """Return how often it has become a leader or a follower."""
        return len(re.findall(r"LEADER ELECTION TOOK", self.log.read_text()))

    def wait_until(self, ready: Callable[[], bool]) -> None:
        until = time.monotonic() + QUORUM_S
        while not ready():
            if time.monotonic() > until:
                raise Failed(f"the server did not come back:\n{self.log.read_text()[-2500:]}")
            time.sleep(0.2)

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.communicate()


class Ensemble:
    """Three servers, each with a MAPR_HOME and a copy of the token directory."""

    def __init__(self, folder: Path, first: Node, root: Path, classes: Path, first_provider: bool) -> None:
        ports = [(free_port(), free_port(), free_port()) for _ in range(SERVERS)]
        self.where = ",".join(f"localhost:{client}" for client, _, _ in ports)
        peers = "".join(f"server.{i}=127.0.0.1:{q}:{e}\n" for i, (_, q, e) in enumerate(ports, 1))
        self.members = []
        for number, (client, _, _) in enumerate(ports, 1):
            node = first if number == 1 else copied(first, folder / f"node{number}")
            data = folder / f"data{number}"
            data.mkdir()
            (data / "myid").write_text(f"{number}\n")
            (data / "zoo.cfg").write_text(CONFIGURATION.format(data=data, client=client) + peers)
            options = [*tls(node, root, first_provider), "-cp", f"{classes}:{JARS}"]
            main = ["org.apache.zookeeper.server.quorum.QuorumPeerMain", str(data / "zoo.cfg")]
            self.members.append(Jvm(node, data, options, main))
        place = folder / "client"
        place.mkdir()
        secure = ["-Dzookeeper.client.secure=true"]
        secure += ["-Dzookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty"]
        options = [*tls(first, root, first_provider), *secure, "-cp", f"{classes}:{JARS}"]
        self.client = Jvm(first, place, options, ["Visitor", self.where])
        self.asked = time.monotonic()

    def ask(self) -> Seen:
        """Return what the client counted since it was last asked."""
        process = self.client.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        found = REPORT.search(process.stdout.readline())
        if found is None:
            raise Failed(f"the client has ended: {self.client.log.read_text()[-2000:]}")
        self.asked, before = time.monotonic(), self.asked
        return Seen(self.asked - before, *map(int, found.groups()[:5]), found[6])

    def watch(self, title: str, seconds: float = WATCH_S) -> Seen:
        time.sleep(seconds)
        seen = self.ask()
        print(f"{title:<34}{seen.seconds:5.1f} s  {seen}", flush=True)
        return seen

    def quorum(self) -> float:
        """Return the seconds from the start of the servers to the first write that was read back."""
        began = time.monotonic()
        for member in self.members:
            member.start()
        self.client.start()
        while time.monotonic() - began < QUORUM_S:
            if self.ask().kept:
                return time.monotonic() - began
            time.sleep(0.2)
        logs = "\n".join(member.log.read_text()[-2500:] for member in [*self.members[:1], self.client])
        raise Failed(f"no quorum after {QUORUM_S:.0f} seconds:\n{logs}")

    def restart_each(self) -> Seen:
        began = time.monotonic()
        for member in self.members:
            joined = member.joined()
            member.stop()
            member.start()
            member.wait_until(lambda member=member, joined=joined: member.joined() > joined)
        seen = self.ask()
        print(f"{'rolling restart, one appliance':<34}{time.monotonic() - began:5.1f} s  {seen}", flush=True)
        return seen

    def settle(self) -> float:
        """Return the seconds until new sessions and the old one are served without a failure again."""
        began = time.monotonic()
        while time.monotonic() - began < QUORUM_S:
            time.sleep(3)
            seen = self.ask()
            if seen.kept and seen.sessions and not seen.kept_failed and not seen.sessions_failed:
                return time.monotonic() - began
        raise Failed("the ensemble does not serve everybody again")

    def stop(self) -> None:
        for each in (self.client, *self.members):
            each.stop()


CONFIGURATION = """\
tickTime=1000
initLimit=30
syncLimit=10
dataDir={data}
secureClientPort={client}
secureClientPortAddress=127.0.0.1
serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
sslQuorum=true
admin.enableServer=false
"""


def tls(node: Node, root: Path, first_provider: bool) -> list[str]:
    """Return the options that give ZooKeeper its TLS from the token."""
    options = [f"-Dtoken.authority={root}", "-Dzookeeper.ssl.clientAuth=need"]
    options += [f"-Dzookeeper.ssl.trustStore.location={root}", "-Dzookeeper.ssl.trustStore.type=PEM"]
    options += [f"-Dzookeeper.{scope}.context.supplier.class=TokenContext" for scope in ("ssl", "ssl.quorum")]
    if first_provider:
        security = node.home / "conf" / "java.security"
        security.write_text("".join(f"security.provider.{i}={name}\n" for i, name in enumerate(providers(node), 1)))
        return [*options, f"-Djava.security.properties={security}"]
    return [*options, f"-Dtoken.settings={node.provider()}"]


def providers(node: Node) -> list[str]:
    jdk = ("SUN", "SunRsaSign", "SunEC", "SunJSSE", "SunJCE", "SunJGSS", "SunSASL", "XMLDSig", "SunPCSC")
    return [f"SunPKCS11 {node.provider()}", *jdk]


def copied(node: Node, home: Path) -> Node:
    """Make another node with a copy of conf/tokens, as the manual asks."""
    other = Node(home, settings=SETTINGS)
    shutil.copytree(node.tokens, other.tokens)
    return other


@contextlib.contextmanager
def ensemble(folder: Path, group: list[Appliance], first_provider: bool) -> Iterator[Ensemble]:
    node = Node(folder / "node1", settings=SETTINGS)
    node.init(group)
    root = make_certificate(node, folder)
    classes = folder / "classes"
    sources = [HERE / "TokenContext.java", HERE / "Visitor.java"]
    subprocess.run(["javac", "-d", classes, "-cp", JARS, *sources], check=True, timeout=120)
    made = Ensemble(folder, node, root, classes, first_provider)
    try:
        yield made
    finally:
        made.stop()


def lived_through(folder: Path, first_provider: bool) -> str:
    """Run the whole story; return it in one line."""
    with appliances(folder / "group", 2) as group, ensemble(folder, group, first_provider) as zookeeper:
        seconds = zookeeper.quorum()
        print(f"quorum after {seconds:.1f} s", flush=True)
        before = zookeeper.watch("both appliances")
        group[0].kill()
        served = group[1].answers()
        lost = zookeeper.watch("first appliance lost")
        served = group[1].answers() - served
        print(f"the other appliance answered {served} messages meanwhile", flush=True)
        restarted = zookeeper.restart_each()
        print(f"all served again {zookeeper.settle():.1f} s later", flush=True)
        group[0].start()
        group[1].kill()
        other = zookeeper.watch("first back, second lost")
    for title, seen in (("both appliances", before), ("first lost", lost), ("second lost", other)):
        if not seen.kept or not seen.sessions:
            raise Failed(f"{title}: nothing was served")
        if seen.kept_failed or seen.sessions_failed:
            raise Failed(f"{title}: {seen}")
    if served < lost.sessions:
        raise Failed(f"{lost.sessions} handshakes with {served} messages: the key was not asked for")
    if not restarted.sessions:
        raise Failed("nothing was served during the rolling restart")
    return (
        f"quorum {seconds:.1f} s; one appliance lost: {lost.kept} writes+reads and {lost.sessions} new sessions in "
        f"{lost.seconds:.0f} s with {served} messages to the other, 0 failed"
    )


def main() -> int:
    need("java", "javac", "pkcs11-tool", "openssl", *JARS.split(":"))
    wanted = sys.argv[1:] or ["supplier", "first-provider"]
    stories = []
    for way in wanted:
        print(f"-- {way}", flush=True)
        with tempfile.TemporaryDirectory(prefix="mrhsm-zookeeper-") as name:
            stories.append(f"{way}: {lived_through(Path(name), way == 'first-provider')}")
    print("; ".join(stories))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as error:
        print(f"failed: {error}")
        sys.exit(1)
