"""Changes each byte of a delivery that was received, and counts that none of them goes unnoticed.

usage: tamper.py PROTO DELIVERY KEY-SET   (the key set of its originator)
"""

import sys
from pathlib import Path

PROTO, DELIVERY, KEY_SET = sys.argv[1:]
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples/python"))

import entente_protocol as protocol  # noqa: E402

protocol.compile_protocol(PROTO)
PB = protocol.PB
keys = PB.KeySet.FromString(protocol.read_key_set(KEY_SET).key_set)
delivery = PB.Delivery.FromString(Path(DELIVERY).read_bytes())


def find(partner, wanted):
    for one in keys.keys:
        if partner == keys.partner and protocol.key_id(one.public_key) == wanted:
            return one.public_key
    raise protocol.Wrong("no such key")


def places(envelope):
    """Every field of bytes, as a message and the field's name."""
    yield envelope, "id"
    yield envelope, "header"
    yield envelope.burst.signature, "key_id"
    yield envelope.burst.signature, "signature"
    for part in envelope.parts:
        if part.WhichOneof("part") == "withheld":
            yield part, "withheld"
        else:
            yield part.open, "salt"
            yield part.open, "body"


def noticed(envelope):
    try:
        protocol.open_envelope(envelope, find)
    except protocol.Wrong:
        return True
    return False


assert not noticed(delivery.envelope), "as it came, it holds"
changed = 0
for at, (message, name) in enumerate(places(delivery.envelope)):
    for byte in range(len(getattr(message, name))):
        envelope = PB.Envelope()
        envelope.CopyFrom(delivery.envelope)
        other, _ = list(places(envelope))[at]
        data = bytearray(getattr(other, name))
        data[byte] ^= 1
        setattr(other, name, bytes(data))
        assert noticed(envelope), f"byte {byte} of {name}"
        changed += 1
assert changed > 300, changed
print("noticed", changed)
