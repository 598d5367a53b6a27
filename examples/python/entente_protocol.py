"""The bytes of Entente's protocol: hashes, signatures, bulletins, and what evidence lets one believe.

Written from proto/ and docs/protocol.md alone; the numbers in comments are that document's sections.
It knows no network and no clock.
"""

import base64
import hashlib
import importlib
import os
import secrets
import struct
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.protobuf import unknown_fields
from grpc_tools import protoc

FILES = ["key", "bulletin", "content", "agreement", "ledger", "session"]
MAX_FRAME = 8 * 1024 * 1024 + 64 * 1024  # 3
MAX_BURST = 4096  # 5.4
MAX_PARTS = 16384  # 5.2

# 5.2: which content a part of which class carries.
CLASSES = {
    "network": ["ip_address", "ip_range", "domain", "url", "tls_fingerprint", "as_number"],
    "email": ["email"],
    "file": ["file"],
    "certificate": ["certificate"],
    "vulnerability": ["vulnerability"],
    "detection": ["detection_rule"],
    "warning": ["warning"],
    "person": ["person"],
    "document": ["document"],
    "telephone": ["telephone"],
    "account": ["bank_account"],
    "vehicle": ["vehicle"],
    "narrative": ["narrative"],
    "source": ["source"],
    "action": ["action"],
    "sighting": ["sighting"],
    "attachment": ["attachment"],
}


class Wrong(Exception):
    """Bytes that do not say what they should, or are not signed as they should be."""


# All messages and values of proto/, once they are compiled.
PB = SimpleNamespace()


def compile_protocol(directory):
    """Generates Python from proto/, and makes its messages names of `PB`."""
    with tempfile.TemporaryDirectory() as target:
        names = [f"entente/v1/{name}.proto" for name in FILES]
        if protoc.main(["protoc", f"-I{directory}", f"--python_out={target}", *names]) != 0:
            raise SystemExit(f"{directory} cannot be compiled")
        sys.path.insert(0, target)
        for name in FILES:
            generated = importlib.import_module(f"entente.v1.{name}_pb2")
            PB.__dict__.update(vars(generated))
        sys.path.remove(target)


# 4: hashes and signatures.


def sha256(*pieces):
    return hashlib.sha256(b"".join(pieces)).digest()


def u32(number):
    return struct.pack(">I", number)


def u64(number):
    return struct.pack(">Q", number)


def key_id(public_key):
    return sha256(b"entente/key/v1\n", public_key)


def signed_bytes(purpose, payload):
    """DSSE's pre-authentication encoding."""
    kind = f"application/vnd.entente.{purpose}.v1".encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def verify(public_key, purpose, payload, signature):
    if signature.key_id != key_id(public_key):
        raise Wrong(f"the {purpose} is signed with another key")
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(signature.signature, signed_bytes(purpose, payload))
    except (InvalidSignature, ValueError) as error:
        raise Wrong(f"the signature of the {purpose} does not verify") from error


class Signer:
    """A partner's signing key, from its file (Ed25519, PKCS #8 in PEM)."""

    def __init__(self, path):
        key = load_pem_private_key(Path(path).read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise Wrong(f"{path} is no Ed25519 key")
        self.key = key
        self.public = key.public_key().public_bytes_raw()

    def sign(self, purpose, payload):
        signature = self.key.sign(signed_bytes(purpose, payload))
        return PB.Signature(key_id=key_id(self.public), signature=signature)


# 4.3: trees.


def leaf(*pieces):
    return sha256(b"\x00", *pieces)


def node(left, right):
    return sha256(b"\x01", left, right)


def root(leaves):
    """The root of RFC 6962, section 2.1, over hashes of leaves."""
    if not leaves:
        return sha256()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return node(root(leaves[:split]), root(leaves[split:]))


def root_of_path(hash_, index, size, path):
    """From a leaf to the root of a tree with a power of two of leaves."""
    if not 0 <= index < size <= MAX_BURST or size & (size - 1) or len(path) != size.bit_length() - 1:
        raise Wrong("the bulletin is not in its burst")
    for sibling in path:
        hash_ = node(sibling, hash_) if index & 1 else node(hash_, sibling)
        index >>= 1
    return hash_


# 5: bulletins.


def part_leaf(part):
    """The leaf of a part, whether it came open or withheld."""
    which = part.WhichOneof("part")
    if which == "withheld":
        return part.withheld
    if which != "open" or len(part.open.salt) != 32:
        raise Wrong("a part is neither open nor withheld")
    part = part.open
    name = getattr(part, "class").encode()
    if not 1 <= len(name) <= 64:
        raise Wrong("a part has no class, or too long a one")
    body = sha256(b"entente/body/v1\n", part.salt, part.body)
    marks = bytes([part.marking.tlp, part.marking.level])
    return leaf(b"entente/part/v1\n", bytes([len(name)]), name, marks, u64(len(part.body)), body)


def burst_leaf(header):
    return leaf(b"entente/bulletin/v1\n", sha256(header))


def seal(header, contents, originator, signer, now):
    """An envelope with this bulletin, in a burst of its own; `header` has the labels, and nothing else."""
    parts = []
    for content in contents:
        kind = content.WhichOneof("content")
        classes = [name for name, kinds in CLASSES.items() if kind in kinds]
        if not classes:
            raise Wrong(f"a part of kind {kind} cannot be published by this example")
        body = content.SerializeToString()
        open_part = PB.OpenPart(salt=secrets.token_bytes(32), body=body, **{"class": classes[0]})
        parts.append(PB.Part(open=open_part))
    secrets.SystemRandom().shuffle(parts)

    random = bytearray(secrets.token_bytes(16))
    random[6], random[8] = random[6] & 0x0F | 0x40, random[8] & 0x3F | 0x80  # RFC 9562, 5.4
    header.format = 1
    header.id = bytes(random)
    header.originator = originator
    header.created = header.valid_from = now
    header.valid_until = header.valid_until or now + 30 * 86_400 * 1_000_000
    header.parts_root = root([part_leaf(part) for part in parts])
    header.part_count = len(parts)
    header.signing_key = key_id(signer.public)
    signed = header.SerializeToString()
    signature = signer.sign("burst", u32(1) + burst_leaf(signed))
    burst = PB.BurstProof(size=1, index=0, signature=signature)
    return PB.Envelope(
        id=header.id, precedence=header.precedence, header=signed, burst=burst, parts=parts
    )


def read_header(data):
    """Reads a header; a critical field that this version does not know refuses it (5.1)."""
    try:
        header = PB.Header.FromString(data)
    except Exception as error:
        raise Wrong("the header cannot be read") from error
    for field in unknown_fields.UnknownFieldSet(header):
        if not 1000 <= field.field_number <= 1999:
            raise Wrong(f"the header has a critical field {field.field_number}")
    if header.format != 1 or len(header.id) != 16:
        raise Wrong("the header is of another format")
    return header


def open_envelope(envelope, find_key):
    """Verifies signature, burst, root and counts; `find_key(partner, key id)` gives a bulletins key."""
    header = read_header(envelope.header)
    burst = envelope.burst
    if burst.signature.key_id != header.signing_key:
        raise Wrong("the burst is signed with another key than the header says")
    public_key = header.pseudonym or find_key(header.originator, header.signing_key)
    if bool(header.pseudonym) == bool(header.originator):
        raise Wrong("the header names a partner and a pseudonym, or neither")
    tree = root_of_path(burst_leaf(envelope.header), burst.index, burst.size, list(burst.path))
    verify(public_key, "burst", u32(burst.size) + tree, burst.signature)
    if (envelope.id, envelope.precedence) != (header.id, header.precedence):
        raise Wrong("the envelope contradicts its header")
    if not 1 <= len(envelope.parts) <= MAX_PARTS or len(envelope.parts) != header.part_count:
        raise Wrong("parts are missing, or there are too many")
    if root([part_leaf(part) for part in envelope.parts]) != header.parts_root:
        raise Wrong("the parts are not those that were signed")
    return header


# 6: lanes.


def lane_start(ledger_id, recipient, precedence):
    return sha256(b"entente/lane/v1\n", ledger_id, bytes([precedence - 1]), recipient.encode())


def lane_next(chain, deliver):
    """The chain after one more number, delivered or void."""
    before = chain + u64(deliver.lane_number)
    if deliver.WhichOneof("item") == "void":
        return sha256(before, b"\x00")
    envelope = deliver.delivery.envelope
    withheld = [i for i, part in enumerate(envelope.parts) if part.WhichOneof("part") == "withheld"]
    return sha256(before, b"\x01", sha256(envelope.header), *map(u32, withheld))


# 7: what is believed.


def log_key(genesis):
    """The Ed25519 key in a log's vkey (C2SP signed-note)."""
    name, hint, encoded = genesis.log_key.split("+", 2)
    material = base64.b64decode(encoded, validate=True)
    if len(material) != 33 or material[0] != 1 or sha256(name.encode(), b"\n", material)[:4].hex() != hint:
        raise Wrong("the log's key cannot be read")
    return material[1:]


def read_key_set(path):
    """A partner's own key set, from its PEM file."""
    lines = Path(path).read_text().strip().splitlines()
    if lines[0] != "-----BEGIN ENTENTE KEY SET-----":
        raise Wrong(f"{path} is no key set")
    return PB.SignedKeySet.FromString(base64.b64decode("".join(lines[1:-1])))


def key_chain(versions, pin):
    """The verified versions of a partner's key set, from the pinned one on (7.2)."""
    chain = []
    for signed in versions:
        one = PB.KeySet.FromString(signed.key_set)
        before = chain[-1] if chain else None
        own = agreement_keys(one)
        if before is None:
            follows = one.version == 1 and sha256(signed.key_set) == pin
        else:
            follows = (one.partner, one.version) == (before[1].partner, before[1].version + 1)
            follows = follows and one.previous == sha256(before[0].key_set)
        if not follows or not signed_by(signed, own):
            raise Wrong(f"version {one.version} of a key set does not follow")
        if before is not None:
            if not signed_by(signed, [*agreement_keys(before[1]), before[1].recovery_key]):
                raise Wrong(f"version {one.version} of a key set is not signed by the one before")
        chain.append((signed, one))
    return chain


def agreement_keys(key_set):
    return [one.public_key for one in key_set.keys if PB.KEY_USE_AGREEMENTS in one.uses]


def signed_by(signed, keys):
    for signature in signed.signatures:
        for public_key in keys:
            if signature.key_id == key_id(public_key):
                try:
                    verify(public_key, "key-set", signed.key_set, signature)
                    return True
                except Wrong:
                    pass
    return False


def key_ever(chain, wanted, use):
    """The key with this id, where any version lets it sign this."""
    for _, version in reversed(chain):
        for one in version.keys:
            if key_id(one.public_key) == wanted and use in one.uses:
                return one.public_key
    raise Wrong("it is signed with a key that its partner does not sign this with")


class Trusted:
    """Agreements that this partner signed itself, and the keys of the others that they pin (7.3)."""

    def __init__(self, evidence, own, ledger_id):
        self.agreements, self.chains, self.faults = {}, {}, []
        key_sets = {one.partner: one.versions for one in evidence.key_sets}
        for signed in evidence.agreements:
            try:
                self._believe(signed, key_sets, own, ledger_id)
            except Wrong as error:
                self.faults.append(str(error))

    def _believe(self, signed, key_sets, own, ledger_id):
        terms = PB.Agreement.FromString(signed.agreement)
        known = PB.Agreement.FromString(signed.agreement)
        known.DiscardUnknownFields()
        if known.SerializeToString(deterministic=True) != signed.agreement or terms.format != 1:
            raise Wrong("an agreement is not as the reference encoder writes it")
        if terms.ledger != ledger_id:
            raise Wrong(f"{terms.name} is for another ledger")
        chains = {one.partner: key_chain(key_sets.get(one.partner, []), one.key_set) for one in terms.parties}
        me = PB.KeySet.FromString(own.key_set).partner
        if own.key_set not in [version.key_set for version, _ in chains.get(me, [])]:
            raise Wrong(f"{terms.name} does not pin our own key set")
        signers = sorted(one.partner for one in signed.ratifications)
        if signers != sorted(chains):
            # One that only narrows an earlier version may have fewer; this example believes none of those.
            raise Wrong(f"{terms.name} is not signed by every party")
        for one in signed.ratifications:
            public_key = key_ever(chains[one.partner], one.signature.key_id, PB.KEY_USE_AGREEMENTS)
            verify(public_key, "agreement", signed.agreement, one.signature)
        self.agreements[sha256(signed.agreement)] = terms
        self.chains.update(chains)

    def bulletin_key(self, partner, wanted):
        if partner not in self.chains:
            raise Wrong(f"no agreement of ours pins a key of {partner!r}")
        return key_ever(self.chains[partner], wanted, PB.KEY_USE_BULLETINS)

    def check(self, delivery, me):
        """Verifies a delivery, and that each clause under which it came is from its originator to us (7.4)."""
        header = open_envelope(delivery.envelope, self.bulletin_key)
        if not delivery.clauses and not (header.notice and header.originator):
            raise Wrong("it comes under no clause")
        for named in delivery.clauses:
            terms = self.agreements.get(named.agreement)
            clauses = [one for one in terms.clauses if one.id == named.clause] if terms else []
            if not clauses:
                raise Wrong(f"it comes under {named.name}/{named.clause}, which we did not sign")
            clause, parties = clauses[0], [one.partner for one in terms.parties]
            given = holds(clause.to, me, parties)
            if header.originator:
                given = given and holds(getattr(clause, "from"), header.originator, parties)
            else:
                given = given and clause.originator != PB.SHOWN_UNSPECIFIED
            if not given:
                raise Wrong(f"{named.name}/{named.clause} is not from its originator to us")
        return header


def holds(names, partner, parties):
    return partner in parties and ("*" in names or partner in names)


def write_durably(path, data):
    """Puts a file in its place in one step, and on the disk."""
    path = Path(path)
    new = path.with_name(path.name + ".new")
    with open(new, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
