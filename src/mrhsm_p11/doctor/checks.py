"""The tables: one row a check.

A row that needs another is not tried where that one is broken; what a token of this store has not is not needed.
"""

from __future__ import annotations

from mrhsm_p11.doctor import access, certificates, custody, keys, library, places, servers
from mrhsm_p11.doctor.findings import Check
from mrhsm_p11.doctor.subjects import Node, Token

NODE: tuple[Check[Node], ...] = (
    Check("home", "Installation", (), places.home),
    Check("settings", "maprhsm.conf", (), places.settings),
    Check("cluster", "Cluster name", (), places.cluster),
    Check("log", "Log file", (), places.log_file),
    Check("files", "Token directory", (), places.directory),
    Check("tokens", "mrhsm.conf", (), places.tokens),
    Check("library", "Library", (), library.loads),
)

TOKEN: tuple[Check[Token], ...] = (
    Check("pin", "PIN file", (), access.pin_file),
    Check("login", "Log-in", (), access.log_in),
    Check("connection", "Connection", ("login",), access.connection, "kmip"),
    Check("certificates", "Own certificates", ("login", "connection"), certificates.own, "kmip"),
    Check("dns", "Server names", ("login", "connection"), servers.names, "kmip"),
    Check("tcp", "TCP", ("dns",), servers.tcp, "kmip"),
    Check("tls", "TLS", ("tcp",), servers.tls, "kmip"),
    Check("kmip", "KMIP", ("tls",), servers.kmip, "kmip"),
    Check("profile", "Profile", ("login", "kmip"), servers.profile, "kmip"),
    Check("clock", "Clock", ("kmip",), servers.clock, "kmip"),
    Check("operations", "Rights", ("kmip",), servers.operations, "kmip"),
    Check("custody", "Key bytes", ("login", "kmip"), custody.key_bytes, "kmip"),
    Check("sidecar", "Attributes here", ("login",), access.notes, "kmip"),
    Check("keys", "Cluster keys", ("login", "kmip"), keys.cluster_keys),
    Check("encrypted", "Encrypted keys", ("login",), keys.files),
    Check("legacy", "Keys in the clear", ("login",), keys.legacy),
    Check("java", "JVM", ("library", "login", "kmip"), library.java),
)
