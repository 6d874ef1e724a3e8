"""Where key bytes are, and what that leaves undone."""

from __future__ import annotations

from collections.abc import Iterator

from mrhsm_p11.cluster import custody
from mrhsm_p11.doctor.findings import Finding, broken, note, warning, well
from mrhsm_p11.doctor.subjects import Token
from mrhsm_p11.errors import CryptokiError, MrhsmError


def key_bytes(token: Token) -> Iterator[Finding]:
    """Probe the key managers where they keep the keys: what they do is noted for the library."""
    assert token.opened is not None
    config = token.node.config
    if not custody.applies(token.opened, config):
        yield well('key bytes are used in the process (custody = "cached")')
        return
    try:
        served = custody.probe(token.opened, config)
        left = custody.left_behind(token.opened, config, served)
    except (MrhsmError, CryptokiError) as error:
        yield broken(
            f"what the key manager does with the keys it keeps cannot be found out: {error}", "see the servers"
        )
        return
    working = len({mechanism for (mechanism, _), way in served.items() if way >= 0})
    if working:
        yield well(f"{working} mechanisms work with keys whose bytes stay at the key manager")
    else:
        yield broken("the key manager does nothing with keys that it keeps", 'set custody = "cached"')
    for name in left:
        yield warning(f"{name} cannot be used in this custody", 'set custody = "cached", or make another key')
    yield note('mrhsm enable and rekey need custody = "cached" while they run')
