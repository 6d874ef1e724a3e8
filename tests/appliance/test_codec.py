"""The mended parts of PyKMIP's codec, and that nothing but apply() puts them in place."""

from __future__ import annotations

import subprocess
import sys

CHECK = """
from kmip.core import enums, primitives, utils
from kmip.core.objects import Attribute
stock = primitives.ByteString.read_value, primitives.TextString.__init__
from mrhsm_p11.appliance import codec, engine, kept, listener, locate, main, rekey
assert stock == (primitives.ByteString.read_value, primitives.TextString.__init__), "importing has changed PyKMIP"

samples = [
    primitives.ByteString(bytes(range(n)), enums.Tags.KEY_MATERIAL) for n in (0, 1, 7, 8, 9, 255)
] + [primitives.TextString("x" * n, enums.Tags.NAME_VALUE) for n in (0, 1, 7, 8, 9, 255)]

def encoded(item):
    stream = utils.BytearrayStream()
    item.write(stream)
    return bytes(stream.buffer)

before = [encoded(sample) for sample in samples]
codec.apply()
codec.apply()
assert [encoded(sample) for sample in samples] == before, "ASCII text and bytes are written as before"
for sample, data in zip(samples, before):
    again = type(sample)(tag=sample.tag)
    again.read(utils.BytearrayStream(data))
    assert again.value == sample.value
    if sample.length % 8:
        for broken in (data[:-1], data[:-1] + b"x"):
            try:
                type(sample)(tag=sample.tag).read(utils.BytearrayStream(broken))
            except Exception as problem:
                assert type(problem).__name__ == "ReadValueError", problem
            else:
                raise AssertionError("bad padding was taken")

link = bytes.fromhex("420008" "01" "00000020" "42000a07" "00000004" "4c696e6b" "00000000"
                     "42000b02" "00000004" "00000005" "00000000")
attribute = Attribute()
attribute.read(utils.BytearrayStream(link))
assert attribute.attribute_value.encoded == link[24:]
assert encoded(attribute) == link
"""


def test_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-W", "ignore", "-c", CHECK]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
