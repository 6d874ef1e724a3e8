"""What 10,000 objects cost: to find one by its label or ID, and to list all, first and again.

    python bench/kmip_many.py [COUNT] [FOLDER]

COUNT keys (1,000) are made through the store's own way and in batches, then read by a token of another host. The
appliance is PyKMIP's engine in Python, so its share of the CPU time stands beside ours; a FOLDER keeps what was made.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from fix_appliance import Appliance, Certificates
from fix_kmip_store import KmipPlace
from fix_stores import aes_key

from mrhsm_p11.config import Config
from mrhsm_p11.constants import CKA
from mrhsm_p11.deadline import Deadline, limit
from mrhsm_p11.kmip import object_payloads as payloads
from mrhsm_p11.kmip.attributes import ApplicationSpecificInformation, Attribute, name_attribute
from mrhsm_p11.kmip.client import Client
from mrhsm_p11.kmip.errors import OperationFailed
from mrhsm_p11.kmip.objects import TemplateAttribute
from mrhsm_p11.kmip.vocabulary import ObjectType
from mrhsm_p11.store.base import Attributes
from mrhsm_p11.store.kmip.reader import searchable
from mrhsm_p11.store.kmip.store import KmipStore

AT_ONCE = 50
LIMIT_S = 900.0  # of a search: PyKMIP takes its time
TICKS = os.sysconf("SC_CLK_TCK")


def label(number: int) -> str:
    return f"key-{number:05}"


def cka_id(number: int) -> bytes:
    return number.to_bytes(5, "big")


def of_number(sent: Sequence[Attribute], number: int) -> tuple[Attribute, ...]:
    """Return the attributes that were sent for key 1 as they would be for another."""
    spelled = {
        label(1): label(number),
        searchable(label(1)): searchable(label(number)),
        searchable(cka_id(1)): searchable(cka_id(number)),
        base64.b64encode(cka_id(1)).decode(): base64.b64encode(cka_id(number)).decode(),
    }
    changed = []
    for attribute in sent:
        value = attribute.attribute_value
        if isinstance(value, ApplicationSpecificInformation):
            text = value.application_data or ""
            for old, new in spelled.items():
                text = text.replace(old, new)
            value = dataclasses.replace(value, application_data=text)
        elif attribute.attribute_name == "Name":
            value = name_attribute(label(number)).attribute_value
        changed.append(dataclasses.replace(attribute, attribute_value=value))
    return tuple(changed)


def make(store: KmipStore, count: int) -> None:
    sent: list[Attribute] = []
    create = Client.create

    def noted(self: Client, kind: ObjectType, attributes: Sequence[Attribute], *, deadline: Deadline) -> str:
        sent[:] = attributes
        return create(self, kind, attributes, deadline=deadline)

    Client.create = noted  # type: ignore[method-assign,assignment]
    for number in (0, 1):
        store.generate({**aes_key(LABEL=label(number), ID=cka_id(number)), CKA.VALUE_LEN: 32})
    Client.create = create  # type: ignore[method-assign]
    for start in range(2, count, AT_ONCE):
        requests = [
            payloads.CreateRequest(
                object_type=ObjectType.SYMMETRIC_KEY,
                template_attribute=TemplateAttribute(attribute=of_number(sent, number)),
            )
            for number in range(start, min(count, start + AT_ONCE))
        ]
        for answer in store._servers.client.batch(requests, deadline=Deadline(300)):
            if isinstance(answer, OperationFailed):
                raise answer


def cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(what: str, store: KmipStore, server: Appliance, wanted: Attributes, expected: int) -> None:
    assert server.process is not None
    statistics = store._servers.client.pool.statistics
    before = statistics.messages, time.monotonic(), time.process_time(), cpu_s(server.process.pid)
    with limit(LIMIT_S):
        records = list(store.search(wanted))
    found = sum(all(record.attributes.get(cka) == value for cka, value in wanted.items()) for record in records)
    after = statistics.messages, time.monotonic(), time.process_time(), cpu_s(server.process.pid)
    assert found == expected, f"{found} found where {expected} are"
    messages, elapsed_s, ours_s, theirs_s = (b - a for a, b in zip(before, after, strict=True))
    print(f"  {what:24}{messages:9}{elapsed_s:9.2f} s{ours_s:9.2f} s{theirs_s:9.2f} s", flush=True)


def memory(open_store: Callable[[], KmipStore], count: int) -> None:
    tracemalloc.start()
    store = open_store()
    store.search({CKA.LABEL: "none"})
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    with limit(LIMIT_S):
        assert len(list(store.search({}))) == count
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"  memory: {(now - before) / count:.0f} bytes an object kept, {(peak - before) / count:.0f} at the most")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else name)
        (folder / "hosts").mkdir(parents=True, exist_ok=True)
        server = Appliance(folder, Certificates(folder / "certificates"))
        made = server.store.exists()
        server.start()
        place = KmipPlace(server.connection(), folder / "hosts", Config(), group="bench")
        if not made:
            began = time.monotonic()
            make(place.open(), count)
            print(f"{count} keys made in {time.monotonic() - began:.0f} s")
        print(f"{count} objects: messages, seconds, and of these CPU time: ours, the appliance's")
        store = place.open("there")
        wanted = {CKA.LABEL: label(count // 2)}
        measure("find by label, first", store, server, wanted, 1)
        measure("find by label, again", store, server, wanted, 1)
        measure("find by ID, first", store, server, {CKA.ID: cka_id(count // 3)}, 1)
        measure("find what is not there", store, server, {CKA.LABEL: "none"}, 0)
        measure("list all, first", store, server, {}, count)
        measure("list all, again", store, server, {}, count)
        store.close()
        memory(lambda: place.open("memory"), count)
        server.stop()


if __name__ == "__main__":
    main()
