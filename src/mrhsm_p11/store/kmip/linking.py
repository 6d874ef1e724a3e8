"""Links between the halves of a pair, for the tools of whoever looks at the server: nothing here relies on them."""

from __future__ import annotations

from mrhsm_p11 import deadline, log
from mrhsm_p11.kmip import object_payloads as payloads
from mrhsm_p11.kmip.attributes import Link, attribute
from mrhsm_p11.kmip.errors import KMIPError, OperationFailed
from mrhsm_p11.kmip.vocabulary import LinkType
from mrhsm_p11.store.kmip.connection import Servers
from mrhsm_p11.store.kmip.learned import Learned


def link_pair(servers: Servers, learned: Learned, public: str, private: str) -> None:
    """Link both halves to each other where the server takes that; a pair is whole without."""
    if learned.expected.links is False:
        return
    requests = [
        payloads.AddAttributeRequest(
            unique_identifier=uid,
            attribute=attribute("Link", Link(link_type=kind, linked_object_identifier=other)),
        )
        for uid, kind, other in (
            (public, LinkType.PRIVATE_KEY_LINK, private),
            (private, LinkType.PUBLIC_KEY_LINK, public),
        )
    ]
    try:
        got = servers.client.batch(requests, deadline=deadline.current())
    except KMIPError as error:
        log.info(f"the halves {public} and {private} of a pair are not linked: {error}")
        return
    refusal = next((one for one in got if isinstance(one, OperationFailed)), None)
    if refusal is not None:
        log.info(f"the server keeps no links between the halves of pairs: {refusal}")
    learned.note(links=refusal is None)
