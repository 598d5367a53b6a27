"""A partner's client for Entente's broker, in Python: publishes, receives, verifies, acknowledges.

It is written from proto/ and docs/protocol.md alone, to show that they suffice, and to be copied. What it
leaves out, a real node has: an outbox that survives a crash, proofs from the log, notices, declarations.

    pip install -r requirements.txt
    python entente_client.py --config client.json publish BULLETIN.json
    python entente_client.py --config client.json receive --max 1

client.json names files (relative to itself) of `entente pki`; see docs/protocol.md, section 9. A bulletin
is protobuf's JSON: {"header": {"kinds": ["KIND_CYBER"], "topics": ["cyber/malware"], "tlp": "TLP_GREEN",
"precedence": "PRECEDENCE_PRIORITY"}, "parts": [{"domain": {"value": "update.grid-portal.example"}}]}.
"""

import argparse
import asyncio
import json
import struct
import sys
import time
import uuid
from contextlib import asynccontextmanager
from pathlib import Path

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated
from cryptography.x509 import SubjectAlternativeName, UniformResourceIdentifier
from google.protobuf.json_format import MessageToDict, ParseDict

import entente_protocol as protocol
from entente_protocol import PB, Wrong

PATIENCE = 15  # seconds for an answer
KEEP_ALIVE = 4  # seconds; the broker gives up after 20 in which it heard nothing
PROTO = Path(__file__).resolve().parents[2] / "proto"


class Refused(Exception):
    """The broker ended the session, or does not take something."""


def now():
    return time.time_ns() // 1000


class Connection(QuicConnectionProtocol):
    """A QUIC connection that keeps why it ended, and the streams that the broker opens."""

    def __init__(self, quic):
        self.lanes = asyncio.Queue()
        self.reason = "the connection ended"
        super().__init__(quic, stream_handler=lambda reader, _: self.lanes.put_nowait(reader))

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.reason = event.reason_phrase or f"QUIC error {event.error_code:#x}"
        super().quic_event_received(event)

    async def read(self, reader):
        """The next frame of a stream: which it is, and its message."""
        try:
            (length,) = struct.unpack(">I", await reader.readexactly(4))
            if length > protocol.MAX_FRAME:
                raise Wrong(f"a frame of {length} bytes was announced")
            frame = PB.Frame.FromString(await reader.readexactly(length))
        except asyncio.IncompleteReadError as error:
            raise Refused(self.reason) from error
        kind = frame.WhichOneof("frame")
        return kind, getattr(frame, kind) if kind else None


def write(writer, **frame):
    data = PB.Frame(**frame).SerializeToString()
    writer.write(struct.pack(">I", len(data)) + data)


@asynccontextmanager
async def connect(config):
    """Mutual TLS 1.3 under QUIC; the broker is known by its SPIFFE ID, and by no name of DNS."""
    tls = QuicConfiguration(is_client=True, alpn_protocols=["entente/1"], idle_timeout=20)
    tls.load_cert_chain(config.path("certificate"), config.path("key"))
    tls.load_verify_locations(cafile=str(config.path("broker_roots")))
    host, port = config["broker"].rsplit(":", 1)
    loop = asyncio.get_running_loop()
    address = (await loop.getaddrinfo(host.strip("[]"), int(port)))[0]
    # aioquic's own `connect` would ask for a host's name in the certificate, and send it in the clear.
    transport, connection = await loop.create_datagram_endpoint(
        lambda: Connection(QuicConnection(configuration=tls)), family=address[0]
    )
    try:
        connection.connect(address[4])
        try:
            await asyncio.wait_for(connection.wait_connected(), PATIENCE)
        except (ConnectionError, TimeoutError) as error:
            raise Refused(f"{config['broker']} cannot be reached: {connection.reason}") from error
        # aioquic has verified the chain; it has no public way to the certificate.
        certificate = connection._quic.tls._peer_certificate
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
        if names.get_values_for_type(UniformResourceIdentifier) != [config["broker_id"]]:
            raise Wrong("the broker shows the certificate of somebody else")
        yield connection
    finally:
        connection.close()
        await connection.wait_closed()
        transport.close()


class Config(dict):
    """client.json."""

    def __init__(self, path):
        super().__init__(json.loads(Path(path).read_text()))
        self.directory = Path(path).resolve().parent

    def path(self, name):
        return self.directory / self[name]


class State:
    """What is durable here: the ledger that was met, how far each lane is held, what was received."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.file = directory / "state.json"
        kept = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.ledger = bytes.fromhex(kept.get("ledger", ""))
        self.lanes = {int(one): (up_to, bytes.fromhex(chain)) for one, (up_to, chain) in kept.get("lanes", {}).items()}

    def save(self):
        lanes = {str(one): (up_to, chain.hex()) for one, (up_to, chain) in self.lanes.items()}
        text = json.dumps({"ledger": self.ledger.hex(), "lanes": lanes})
        protocol.write_durably(self.file, text.encode())

    def held(self):
        lanes = self.lanes.items()
        return [PB.LaneAck(precedence=one, up_to=up_to, chain=chain) for one, (up_to, chain) in lanes]


class Session:
    """A greeted session."""

    def __init__(self, config, connection, state):
        self.config, self.connection, self.state = config, connection, state
        self.signer = protocol.Signer(config.path("signing_key"))
        self.own = protocol.read_key_set(config.path("key_set"))
        self.me = PB.KeySet.FromString(self.own.key_set).partner
        self.trusted = asyncio.get_running_loop().create_future()
        self.told = asyncio.Queue()
        self.tasks = []

    async def greet(self):
        """Hello and Welcome (2); then the control stream is read until the session ends."""
        reader, self.control = await self.connection.create_stream()
        limits = PB.Limits(
            frame_bytes=protocol.MAX_FRAME, bulletin_bytes=8 * 1024 * 1024, parts=protocol.MAX_PARTS,
            outstanding=256,
        )
        write(self.control, hello=PB.Hello(
            versions=[1], limits=limits, agent="entente_client.py", time=now(), resume=self.state.held(),
            ledger=self.state.ledger,
        ))
        kind, welcome = await asyncio.wait_for(self.connection.read(reader), PATIENCE)
        if kind == "refuse":
            raise Refused(f"{welcome.message} ({welcome.code})")
        if kind != "welcome" or welcome.version != 1:
            raise Wrong("the broker does not greet")
        if protocol.sha256(welcome.genesis) != welcome.ledger:
            raise Wrong("the broker's genesis is not its ledger's")
        if self.state.ledger not in (b"", welcome.ledger):
            raise Wrong("the broker has another ledger than the one that is known here")
        self.log_key = protocol.log_key(PB.Fact.FromString(welcome.genesis).genesis)
        self.state.ledger = welcome.ledger
        self.state.save()
        self.tasks = [asyncio.create_task(one) for one in (self._listen(reader), self._keep_alive())]

    async def _keep_alive(self):
        while True:
            await asyncio.sleep(KEEP_ALIVE)
            await self.connection.ping()

    async def _listen(self, reader):
        while True:
            kind, message = await self.connection.read(reader)
            if kind == "evidence":
                trusted = protocol.Trusted(message, self.own, self.state.ledger)
                for fault in trusted.faults:
                    print(f"not believed: {fault}", file=sys.stderr)
                if self.trusted.done():
                    self.trusted = asyncio.get_running_loop().create_future()
                self.trusted.set_result(trusted)
            elif kind == "told":
                self.told.put_nowait(message)
            elif kind == "refuse":
                raise Refused(f"{message.message} ({message.code})")
            # The others tell what this example does not follow: checkpoints, what waits for a partner.

    async def publish(self, header, contents):
        """Publishes one bulletin; its id, and where the broker promises that it stands in the log."""
        envelope = protocol.seal(header, contents, self.me, self.signer, now())
        reader, writer = await self.connection.create_stream()
        write(writer, submit=PB.Submit(sequence=1, envelope=envelope))
        kind, answer = await asyncio.wait_for(self.connection.read(reader), PATIENCE)
        if kind == "rejected":
            raise Refused(f"{answer.message} ({answer.code})")
        if kind != "promise" or list(answer.sequences) != [1]:
            raise Wrong("the broker answers something else than was asked")
        protocol.verify(self.log_key, "promise", answer.statement, answer.signature)
        statement = PB.PromiseStatement.FromString(answer.statement)
        (item,) = statement.items
        promised = (statement.ledger, statement.originator, item.bulletin, item.header)
        if promised != (self.state.ledger, self.me, envelope.id, protocol.sha256(envelope.header)):
            raise Wrong("the broker promises something else than was submitted")
        return envelope.id, item.position

    async def receive(self, count):
        """Receives so many bulletins; each is durable here before it is acknowledged."""
        deliveries = asyncio.Queue(64)
        lanes = asyncio.create_task(self._lanes(deliveries))
        self.tasks.append(lanes)
        while count > 0:
            precedence, deliver = await self._unless_ended(deliveries.get())
            shown = await self._take(precedence, deliver)
            self._acknowledge(precedence)
            if shown is not None:
                yield shown
                count -= 1
        await self._heard()

    async def _lanes(self, deliveries):
        tasks = []
        while True:
            reader = await self.connection.lanes.get()
            tasks.append(asyncio.create_task(self._lane(reader, deliveries)))
            self.tasks.append(tasks[-1])

    async def _lane(self, reader, deliveries):
        kind, opened = await self.connection.read(reader)
        if kind != "lane_open":
            raise Wrong("a lane does not begin with its name")
        start = protocol.lane_start(self.state.ledger, self.me, opened.precedence)
        held, _ = self.state.lanes.setdefault(opened.precedence, (0, start))
        if opened.next != held + 1:
            raise Wrong(f"the lane goes on at {opened.next}, and {held} is the last that is held here")
        while True:
            kind, deliver = await self.connection.read(reader)
            if kind != "deliver":
                raise Wrong("a frame does not belong on a lane")
            await deliveries.put((opened.precedence, deliver))

    async def _take(self, precedence, deliver):
        """Verifies and keeps one number of a lane; what of it is shown, unless it is void."""
        held, chain = self.state.lanes[precedence]
        if deliver.lane_number != held + 1:
            raise Wrong(f"number {deliver.lane_number} came where {held + 1} was due")
        shown = None
        if deliver.WhichOneof("item") == "delivery":
            delivery = deliver.delivery
            trusted = await asyncio.wait_for(asyncio.shield(self.trusted), PATIENCE)
            try:
                header, fault = trusted.check(delivery, self.me), None
                if header.precedence != precedence:
                    header, fault = None, "it came in another lane"
            except Wrong as error:
                header, fault = None, str(error)
            # What does not verify is kept as evidence, and handed to nobody. Its number is acknowledged
            # all the same: the chain says what came, not that it is believed.
            name = f"{precedence}-{deliver.lane_number}" + (".quarantined" if fault else ".delivery")
            protocol.write_durably(self.state.directory / name, delivery.SerializeToString())
            shown = show(delivery, header, fault)
        self.state.lanes[precedence] = (deliver.lane_number, protocol.lane_next(chain, deliver))
        self.state.save()
        return shown

    def _acknowledge(self, precedence):
        up_to, chain = self.state.lanes[precedence]
        statement = PB.AckStatement(
            ledger=self.state.ledger, recipient=self.me, time=now(),
            lanes=[PB.LaneAck(precedence=precedence, up_to=up_to, chain=chain)],
        ).SerializeToString()
        signature = self.signer.sign("acknowledgement", statement)
        write(self.control, acknowledge=PB.Acknowledge(statement=statement, signature=signature))

    async def _heard(self):
        """Waits until the broker has read what was said: it answers in order, and a question is answered."""
        write(self.control, ask=PB.Ask(sequence=1, bulletin=bytes(16)))
        await self._unless_ended(self.told.get())

    async def _unless_ended(self, waiting):
        """What is waited for; an error where the session ends first."""
        waiting = asyncio.ensure_future(waiting)
        while not waiting.done():
            done, _ = await asyncio.wait([waiting, *self.tasks], return_when=asyncio.FIRST_COMPLETED, timeout=1)
            for task in done - {waiting}:
                task.result()
        return waiting.result()


def show(delivery, header, fault):
    """A delivery as JSON."""
    bulletin = uuid.UUID(bytes=delivery.envelope.id) if len(delivery.envelope.id) == 16 else None
    if fault:
        return {"bulletin": str(bulletin), "quarantined": fault}
    parts, withheld = [], []
    for index, part in enumerate(delivery.envelope.parts):
        if part.WhichOneof("part") == "withheld":
            withheld.append(index)
        else:
            parts.append(MessageToDict(PB.Content.FromString(part.open.body)))
    return {
        "bulletin": str(bulletin), "originator": header.originator or "undisclosed",
        "position": delivery.position, "labels": MessageToDict(header), "parts": parts, "withheld": withheld,
        "clauses": [f"{one.name}@{one.version}/{one.clause}" for one in delivery.clauses],
    }


async def run(arguments):
    config = Config(arguments.config)
    async with connect(config) as connection:
        session = Session(config, connection, State(config.path("state")))
        try:
            await session.greet()
            if arguments.what == "publish":
                draft = json.loads(Path(arguments.file).read_text())
                header = ParseDict(draft["header"], PB.Header())
                contents = [ParseDict(part, PB.Content()) for part in draft["parts"]]
                bulletin, position = await session.publish(header, contents)
                print(json.dumps({"bulletin": str(uuid.UUID(bytes=bulletin)), "position": position}), flush=True)
            else:
                async for shown in session.receive(arguments.max):
                    print(json.dumps(shown), flush=True)
        finally:
            for task in session.tasks:
                task.cancel()
            await asyncio.gather(*session.tasks, return_exceptions=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="client.json")
    parser.add_argument("--proto", default=PROTO, help="the directory proto/ of Entente")
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("publish").add_argument("file", help="a bulletin in JSON")
    what.add_parser("receive").add_argument("--max", type=int, default=1, help="so many, and then end")
    arguments = parser.parse_args()
    protocol.compile_protocol(arguments.proto)
    try:
        asyncio.run(run(arguments))
    except (Wrong, Refused) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
