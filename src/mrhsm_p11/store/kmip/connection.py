"""A token's servers: made from its settings, connected at the first message, their failures in PKCS #11's words."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mrhsm_p11 import deadline, log
from mrhsm_p11.errors import DeviceError, MrhsmError, ObjectHandleInvalid
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import KMIPError
from mrhsm_p11.kmip.messages import Authentication
from mrhsm_p11.kmip.pool import Pool
from mrhsm_p11.kmip.transport import Endpoint, Identity
from mrhsm_p11.kmip.vocabulary import VERSIONS, Version, version_text
from mrhsm_p11.mapping.results import translated
from mrhsm_p11.store.base import ObjectGone
from mrhsm_p11.store.kmip import addresses
from mrhsm_p11.tokendir.settings import AUTOMATIC

if TYPE_CHECKING:
    from mrhsm_p11.config import Config
    from mrhsm_p11.tokendir.settings import Connection
    from mrhsm_p11.tokendir.watching import ConnectionWatch


class NotConfigured(MrhsmError, DeviceError):
    """The token's settings lack what a connection needs."""


def endpoints_of(connection: Connection) -> tuple[Endpoint, ...]:
    """Return where the servers are. One server name counts for all addresses, several go with theirs."""
    names = connection.server_names
    if len(names) > 1 and len(names) != len(connection.addresses):
        raise NotConfigured(
            f"{len(names)} server names for {len(connection.addresses)} addresses: give one for all, or one for each"
        )
    found = []
    for place, text in enumerate(connection.addresses):
        address = addresses.parse(text, connection.port)
        name = names[place % len(names)] if names else None
        found.append(Endpoint(address.host, address.port, name))
    return tuple(found)


def version_of(connection: Connection) -> Version | None:
    """Return the KMIP version to speak, None for one that is agreed on. Raises NotConfigured for one that is none."""
    if connection.kmip_version == AUTOMATIC:
        return None
    for version in VERSIONS:
        if connection.kmip_version == version_text(version):
            return version
    known = ", ".join(map(version_text, VERSIONS))
    raise NotConfigured(f"KMIP version {connection.kmip_version!r} is not one of {known} or {AUTOMATIC}")


def identity_of(connection: Connection) -> Identity:
    """Return whom to trust and who we are. Raises NotConfigured, naming the option that is missing."""
    missing = [
        option
        for option, value in (
            ("-ip", connection.addresses),
            ("-cacert", connection.ca_certificate),
            ("-clientcert", connection.client_certificate),
            ("-clientkey", connection.client_key),
        )
        if not value
    ]
    if missing:
        raise NotConfigured(f"the KMIP connection is not configured: run mrhsm set with {', '.join(missing)}")
    return Identity(connection.ca_certificate, connection.client_certificate, connection.client_key)


def authentication_of(connection: Connection) -> Authentication | None:
    """Return the user name and password that are sent beside the certificate, None without."""
    return Authentication.of_user(connection.username, connection.password) if connection.username else None


def make_pool(connection: Connection, config: Config) -> Pool:
    """Return the pool of a token's servers; nothing connects yet."""
    return Pool(
        endpoints_of(connection),
        identity_of(connection),
        version_of(connection),
        size=config.pool_size,
        idle_s=config.idle_s,
        age_s=config.age_s,
        connect_s=config.connect_s,
        response_limit=config.response_limit,
        metrics_file=Path(config.metrics_file) if config.metrics_file else None,
        authentication=authentication_of(connection),
        correlates=config.correlation,
    )


class Servers:
    """The client of a token, made when it is first needed: settings may be incomplete until then.

    With a `watch`, settings that change are followed by the next message; messages under way end as they began.
    """

    def __init__(self, connection: Connection, config: Config, watch: ConnectionWatch | None = None) -> None:
        self.connection = connection
        self.followers: list[Callable[[], None]] = []  # called after a change of the connection
        self._config = config
        self._watch = watch
        self._pool: Pool | None = None
        self._one_by_one = False
        self._making = threading.Lock()

    @property
    def refuses_batches(self) -> bool:
        """Whether messages of several operations are not sent, because one was refused."""
        return self._pool is not None and self._pool.refuses_batches

    def send_no_batches(self) -> None:
        """Ask one operation a message, as long as the settings stay what they are."""
        self._one_by_one = True
        if self._pool is not None:
            self._pool.refuses_batches = True

    @property
    def forced_profile(self) -> str:
        """The profile that somebody set, "" where the servers are to say who they are."""
        return self.connection.profile or self._config.profile

    @property
    def client(self) -> Client:
        self._look()
        with self._making:
            if self._pool is None:
                self._pool = make_pool(self.connection, self._config)
                self._pool.refuses_batches = self._one_by_one
                _warn_of_dates(self.connection, f"{self._config.tokens_dir}/mrhsm.conf")
            return Client(self._pool)

    def version(self) -> Version:
        """Return the version that is spoken; where the settings say one, without asking. Raises as reported()."""
        client = self.client
        with reported():
            return client.version(deadline=deadline.current())

    def require_token(self) -> None:
        """Raise TokenReset where the token was initialised again since it was opened."""
        self._look()
        if self._watch is not None and self._watch.reset:
            from mrhsm_p11.tokendir.tokens import TokenReset

            raise TokenReset("the token was initialised again: close its sessions and log in anew")

    def _look(self) -> None:
        changed = self._watch.changed() if self._watch is not None else None
        if changed is not None and changed != self.connection:
            self._follow(changed)

    def each(self) -> list[Client]:
        """Return a client for each server alone."""
        client = self.client
        return [client.at(endpoint) for endpoint in client.pool.endpoints]

    def close(self) -> None:
        with self._making:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _follow(self, connection: Connection) -> None:
        log.info(f"the settings of the key managers have changed: {', '.join(connection.addresses) or 'none is left'}")
        self.connection, self._one_by_one = connection, False
        self.close()
        for told in self.followers:
            told()


def _warn_of_dates(connection: Connection, file: str) -> None:
    """Log which of the configured certificates is not valid now, and when it was: servers only say that it is not."""
    from datetime import UTC, datetime

    from cryptography import x509

    now = datetime.now(UTC)
    for what, text in (("client", connection.client_certificate), ("CA", connection.ca_certificate)):
        with contextlib.suppress(ValueError):  # the handshake says what is wrong with it
            for certificate in x509.load_pem_x509_certificates(text):
                since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
                if not since <= now <= until:
                    when = (
                        f"expired on {until:%Y-%m-%d %H:%M:%S}" if now > until else f"begins {since:%Y-%m-%d %H:%M:%S}"
                    )
                    log.warning(
                        f"{file}: the {what} certificate {when} UTC, this host's clock says {now:%Y-%m-%d %H:%M:%S}"
                    )


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Raise what a KMIP failure means in PKCS #11 instead of it."""
    try:
        yield
    except KMIPError as error:
        meaning = translated(error)
        if isinstance(meaning, ObjectHandleInvalid):
            raise ObjectGone(str(error)) from error
        raise meaning from error


def require_identifier(uid: str) -> None:
    """Raise ObjectGone for what cannot name an object: a server that is sent no identifier may take its latest."""
    if not uid or not uid.isprintable():
        raise ObjectGone(f"{uid!r} is no identifier")
