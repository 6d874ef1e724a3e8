"""The key managers: one inspection of each, told stage by stage."""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509

from mrhsm_p11.doctor import certificates
from mrhsm_p11.doctor.findings import Finding, Severity, broken, not_checked, note, warning, well
from mrhsm_p11.doctor.subjects import Token
from mrhsm_p11.store import kmip as store_kmip
from mrhsm_p11.store.kmip.inspecting import Inspection, Outcome, Probed, Stage
from mrhsm_p11.tokendir.settings import AUTOMATIC

SKEW_S, WRONG_CLOCK_S = 60.0, 3600.0

# What to do where the fault says this, the first that fits; the last of a stage fits all.
ADVICE: dict[Stage, tuple[tuple[str, str], ...]] = {
    Stage.CONFIGURED: (("", "give what is missing with mrhsm set"),),
    Stage.NAME: (("", "correct DNS or /etc/hosts, or give an IP address with mrhsm set -ip"),),
    Stage.TCP: (
        ("refused the connection", "start KMIP on the appliance, or correct mrhsm set -ip and -port"),
        ("in time", "find what drops the packets: a firewall, a route, or an appliance that is off"),
        ("", "correct the address, the route or the firewall"),
    ),
    Stage.TLS: (
        ("does not speak TLS", "another service has this port: correct mrhsm set -port, or look for a proxy between"),
        ("in time", "something takes the connection and says nothing: restart KMIP there, look for a balancer between"),
        ("has expired", "renew the server's certificate on the appliance"),
        ("not valid yet", "check the clocks of the appliance and of this host"),
        ("not issued by", "mrhsm set -cacert with the CA that issued the server's certificate"),
        ("is not for", "mrhsm set -servername with the name that the certificate bears"),
        ("refuses us", "register our client certificate at the appliance, or mrhsm set -clientcert -clientkey anew"),
        ("do not belong together", "mrhsm set -clientcert and -clientkey with a pair"),
        ("TLS 1.2", "switch TLS 1.2 or 1.3 on at the appliance"),
        ("", "compare the TLS settings of the appliance"),
    ),
    Stage.KMIP: (
        ("does not speak KMIP", "mrhsm set -kmipversion with one that is offered"),
        ("is this the KMIP port", "another service has this port: correct mrhsm set -port"),
        ("does not accept the password", "mrhsm set -username with the name and the password that the appliance knows"),
        (
            "does not accept our certificate",
            "give the certificate's user rights on the appliance; where it wants a name and a password: "
            "mrhsm set -username",
        ),
        (
            "may refuse our certificate",
            "register our client certificate at the appliance; with mrhsm set -username, give the name that is in it",
        ),
        ("in time", "the appliance is too slow or hangs: look at it, then at network.deadline_seconds"),
        ("", "look at the appliance's own log"),
    ),
}


def names(token: Token) -> Iterator[Finding]:
    yield from _stage(token, Stage.NAME, "is found")


def tcp(token: Token) -> Iterator[Finding]:
    yield from _stage(token, Stage.TCP, "takes connections")


def tls(token: Token) -> Iterator[Finding]:
    for server in token.servers:
        yield from _fault(token, server, Stage.TLS)
        if server.peer is not None and server.reached > Stage.TLS:
            yield well(f"{server.address}: {server.peer.tls_version}, {server.peer.cipher}")
            chain = [x509.load_der_x509_certificate(der) for der in server.peer.chain]
            what = f"{server.address}: its certificate"
            renew = "renew the server's certificate on the appliance"
            yield from certificates.lifetimes(chain, what, token.node.now, renew)


def kmip(token: Token) -> Iterator[Finding]:
    for server in token.servers:
        yield from _fault(token, server, Stage.KMIP)
        if not server.fault:
            offers = f", offers {', '.join(server.versions)}" if server.versions else ""
            vendor = f", {server.vendor}" if server.vendor else ""
            spoken = token.settings.connection.kmip_version
            yield well(f"{server.address}: speaks KMIP {spoken}{offers}, {server.latency_ms or 0:.1f} ms{vendor}")


def profile(token: Token) -> Iterator[Finding]:
    connection = token.settings.connection
    found = store_kmip.profile_in_force(connection, token.node.config, token.servers)
    yield well(f"{found.name} ({found.title}): {found.why}")
    if found.versions and connection.kmip_version not in (*found.versions, AUTOMATIC):
        yield note(
            f"no document names KMIP {connection.kmip_version} for {found.title}, but {', '.join(found.versions)}",
            "if something fails: mrhsm set -kmipversion with one of these",
        )
    vendors = sorted({server.vendor for server in token.servers if server.vendor})
    if len(vendors) > 1:
        yield warning(
            f"the servers call themselves {' and '.join(map(repr, vendors))}",
            "give servers of one group, which hold the same keys, with mrhsm set -ip",
        )


def clock(token: Token) -> Iterator[Finding]:
    known = [server for server in token.servers if server.clock_offset_s is not None]
    if not known:
        yield not_checked("not checked: no server told its time")
    for server in known:
        off_s = -(server.clock_offset_s or 0.0)
        late = "ahead of" if off_s > 0 else "behind"
        says = f"this host's clock is {_duration(abs(off_s))} {late} that of {server.address}"
        if abs(off_s) >= WRONG_CLOCK_S:
            yield broken(says, "set the clock that is wrong, and keep both by NTP")
        elif abs(off_s) >= SKEW_S:
            yield warning(says, "keep both by NTP")
        else:
            yield well(f"{server.address}: the clocks agree")


def operations(token: Token) -> Iterator[Finding]:
    for server in token.servers:
        if server.fault:
            continue
        faults = [finding for probed in server.probed if (finding := _operation(server, probed)) is not None]
        yield from faults
        if all(finding.severity is Severity.NOTE for finding in faults):
            yield well(f"{server.address}: {sum(p.outcome is Outcome.WORKS for p in server.probed)} operations work")


def _operation(server: Inspection, probed: Probed) -> Finding | None:
    probe = probed.probe
    says = f"{server.address}: {probe.operation} {probed.outcome.value} (for {probe.needed_by})"
    if probed.outcome is Outcome.WORKS:
        return None
    if probed.outcome is Outcome.UNCLEAR or not probe.required:
        return note(says)
    if probed.outcome is Outcome.REFUSED:
        return broken(f"{says}: {probed.said}", "give the certificate's user this right on the appliance")
    return broken(says, "switch the operation on at the appliance, or use one that has it")


def _stage(token: Token, stage: Stage, good: str) -> Iterator[Finding]:
    for server in token.servers:
        if server.reached > stage:
            yield well(f"{server.address} {good}")
        else:
            yield from _fault(token, server, stage)


def _fault(token: Token, server: Inspection, stage: Stage) -> Iterator[Finding]:
    """Yield the server's fault where it is of this stage: broken, but only a warning while another server serves."""
    if (server.fault and server.reached is stage) or (server.reached is Stage.CONFIGURED and stage is Stage.NAME):
        advice = next(text for phrase, text in ADVICE[server.reached] if phrase in server.fault)
        served = any(not other.fault for other in token.servers)
        says = server.fault if server.address in server.fault else f"{server.address}: {server.fault}"
        yield (warning if served else broken)(says, advice)


def _duration(seconds: float) -> str:
    for size, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"
