//! A lean client of the broker: the whole protocol, and nothing kept.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use tokio::sync::Notify;

use super::error::BenchError;
use super::world::{FRAMEWORK, World};
use crate::bulletin::Precedence;
use crate::clock::{Clock, SystemClock};
use crate::deployment::Layout;
use crate::identity::{certificates_from_pem, read_private, read_secret_key};
use crate::ledger::{Ack, LaneAck, LaneChain, LedgerId, SignedAck};
use crate::partner::PartnerId;
use crate::proof::SecretKey;
use crate::session::{
    Frame, Hello, LaneReceiver, Limits, MAX_FRAME_BYTES, PROTOCOL_VERSION, Welcome, decode, encode,
};
use crate::transport::{
    Credentials, FrameReader, Kex, Trust, client_config, client_endpoint, write_frame,
};

/// A recipient acknowledges what came within this time, at once.
const ACKNOWLEDGE_EVERY: Duration = Duration::from_millis(5);

/// A greeted session.
pub(super) struct Session {
    pub(super) partner: PartnerId,
    pub(super) ledger: LedgerId,
    pub(super) connection: Connection,
    pub(super) key: Arc<SecretKey>,
    _endpoint: Endpoint,
    send: SendStream,
    reader: FrameReader<RecvStream>,
}

/// A UDP endpoint on loopback that connects as whom it is told.
pub(super) fn endpoint(world: &World, partner: &PartnerId) -> Result<Endpoint, BenchError> {
    let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let (endpoint, _) = client_endpoint(any, tls(world, partner)?).map_err(BenchError::client)?;
    Ok(endpoint)
}

fn tls(
    world: &World,
    partner: &PartnerId,
) -> Result<Arc<quinn::crypto::rustls::QuicClientConfig>, BenchError> {
    let home = world.layout().home(partner);
    let id = Layout::node_id(partner).map_err(BenchError::client)?;
    let leaf = home.leaf(&id);
    let chain = std::fs::read(&leaf.certificate).map_err(BenchError::file(&leaf.certificate))?;
    let key = read_private(&leaf.key).map_err(BenchError::client)?;
    let credentials = Credentials::new(&chain, key.as_bytes()).map_err(BenchError::client)?;
    let framework: PartnerId = FRAMEWORK.parse().map_err(BenchError::client)?;
    let (number, _) = world.broker_of(partner)?;
    let broker = Layout::broker_id_at(&framework, number).map_err(BenchError::client)?;
    let roots = certificates_from_pem(&world.layout().home(&framework).roots());
    let mut trust = Trust::new();
    trust
        .add(&framework, &roots.map_err(BenchError::client)?, None)
        .map_err(BenchError::client)?;
    client_config(
        Kex::default(),
        Arc::new(credentials),
        trust,
        broker,
        Arc::new(SystemClock),
    )
    .map_err(BenchError::client)
}

impl Session {
    /// Connects and greets. `held` is how far each lane was received before.
    pub(super) async fn open(
        world: &World,
        partner: &PartnerId,
        held: Vec<LaneAck>,
    ) -> Result<Self, BenchError> {
        let endpoint = endpoint(world, partner)?;
        Self::open_on(endpoint, world, partner, held).await
    }

    /// As [`Session::open`], from this endpoint.
    pub(super) async fn open_on(
        endpoint: Endpoint,
        world: &World,
        partner: &PartnerId,
        held: Vec<LaneAck>,
    ) -> Result<Self, BenchError> {
        let home = world.layout().home(partner);
        let key = read_secret_key(&home.signing_key()).map_err(BenchError::client)?;
        let connecting = endpoint.connect(world.broker_of(partner)?.1, "broker.invalid");
        let connection = connecting.map_err(BenchError::client)?.await;
        let connection = connection.map_err(BenchError::client)?;
        let (mut send, receive) = connection.open_bi().await.map_err(BenchError::client)?;
        let mut reader = FrameReader::new(receive, MAX_FRAME_BYTES);
        let hello = Frame::Hello(Hello {
            versions: vec![PROTOCOL_VERSION],
            limits: Limits::OURS,
            agent: "entente bench".into(),
            time: SystemClock.now(),
            resume: held,
            ledger: None,
            witness: Vec::new(),
            checkpoint: String::new(),
        });
        write_frame(&mut send, &encode(&hello))
            .await
            .map_err(BenchError::client)?;
        let answer = reader.next().await.map_err(BenchError::client)?;
        let answer = answer.ok_or_else(|| BenchError::client("the broker hung up"))?;
        let welcome = match decode(answer).map_err(BenchError::client)? {
            Frame::Welcome(welcome) => welcome,
            Frame::Refuse(refusal) => return Err(BenchError::client(refusal)),
            _ => return Err(BenchError::client("the broker did not greet")),
        };
        let Welcome { ledger, .. } = welcome;
        Ok(Self {
            partner: partner.clone(),
            ledger,
            connection,
            key: Arc::new(key),
            _endpoint: endpoint,
            send,
            reader,
        })
    }

    /// Keeps the session open; returns when the broker ends it.
    pub(super) async fn idle(mut self) -> Result<(), BenchError> {
        while let Ok(Some(_)) = self.reader.next().await {}
        Err(BenchError::client(self.connection.closed().await))
    }

    /// The publish stream.
    pub(super) async fn publish(&self) -> Result<(Submitter, Answers), BenchError> {
        let (send, receive) = self
            .connection
            .open_bi()
            .await
            .map_err(BenchError::client)?;
        let submitter = Submitter {
            send,
            last: 0,
            buffer: BytesMut::new(),
        };
        let answers = Answers {
            reader: FrameReader::new(receive, MAX_FRAME_BYTES),
        };
        Ok((submitter, answers))
    }

    /// Receives until the broker ends the session: `taken` is told of each bulletin of each lane.
    pub(super) async fn receive(
        mut self,
        taken: impl FnMut(Precedence, &crate::bulletin::Sealed) + Send + Clone + 'static,
    ) -> Result<(), BenchError> {
        let shared = Arc::new(Received {
            lanes: Mutex::default(),
            news: Notify::new(),
        });
        let mut tasks = tokio::task::JoinSet::new();
        let (mut send, connection) = (self.send, self.connection);
        let (ledger, partner, key) = (self.ledger, self.partner.clone(), self.key);
        let acknowledging = Arc::clone(&shared);
        tasks.spawn(async move {
            loop {
                acknowledging.news.notified().await;
                tokio::time::sleep(ACKNOWLEDGE_EVERY).await;
                let lanes = acknowledging.lock().values().copied().collect();
                let recipient = self.partner.clone();
                let time = SystemClock.now();
                let ack = Ack {
                    ledger,
                    recipient,
                    lanes,
                    time,
                };
                let signed = SignedAck::sign(ack, key.as_ref()).map_err(BenchError::client)?;
                let frame = encode(&Frame::Acknowledge(signed));
                write_frame(&mut send, &frame)
                    .await
                    .map_err(BenchError::client)?;
            }
        });
        tasks.spawn(async move {
            while let Ok(Some(_)) = self.reader.next().await {}
            Err(BenchError::client("the broker ended the control stream"))
        });
        loop {
            tokio::select! {
                stream = connection.accept_uni() => {
                    let stream = stream.map_err(BenchError::client)?;
                    let (shared, taken) = (Arc::clone(&shared), taken.clone());
                    tasks.spawn(lane(stream, ledger, partner.clone(), shared, taken));
                }
                ended = tasks.join_next() => {
                    return ended.map_or(Ok(()), |ended| ended.map_err(BenchError::client)?);
                }
            }
        }
    }
}

struct Received {
    lanes: Mutex<BTreeMap<Precedence, LaneAck>>,
    news: Notify,
}

impl Received {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Precedence, LaneAck>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn lane(
    stream: RecvStream,
    ledger: LedgerId,
    partner: PartnerId,
    shared: Arc<Received>,
    mut taken: impl FnMut(Precedence, &crate::bulletin::Sealed),
) -> Result<(), BenchError> {
    let mut reader = FrameReader::new(stream, MAX_FRAME_BYTES);
    let first = reader.next().await.map_err(BenchError::client)?;
    let Some(Ok(Frame::LaneOpen { precedence, next })) = first.map(decode) else {
        return Err(BenchError::client("a lane does not begin with its name"));
    };
    if next != 1 {
        return Err(BenchError::client(
            "a lane goes on where nothing was received",
        ));
    }
    let start = LaneChain::start(ledger, &partner, precedence);
    let mut lane = LaneReceiver::resume(precedence, 0, start);
    while let Some(bytes) = reader.next().await.map_err(BenchError::client)? {
        let Frame::Deliver { number, item } = decode(bytes).map_err(BenchError::client)? else {
            return Err(BenchError::client("a frame does not belong on a lane"));
        };
        lane.expect(number).map_err(BenchError::client)?;
        match item {
            None => lane.received_void(),
            Some(delivery) => {
                lane.received(&delivery.bulletin.header_hash(), &[]);
                taken(precedence, &delivery.bulletin);
            }
        }
        shared.lock().insert(precedence, lane.position());
        shared.news.notify_one();
    }
    Ok(())
}

/// Sends bulletins, many at once.
pub(super) struct Submitter {
    pub(super) send: SendStream,
    last: u64,
    buffer: BytesMut,
}

impl Submitter {
    /// Adds a bulletin, as [`Sealed::to_bytes`] gives it, to what [`Submitter::flush`] sends.
    ///
    /// [`Sealed::to_bytes`]: crate::bulletin::Sealed::to_bytes
    pub(super) fn add(&mut self, sealed: crate::bulletin::Sealed) {
        self.last += 1;
        let frame = encode(&Frame::Submit {
            sequence: self.last,
            bulletin: Ok(Box::new(sealed)),
        });
        // A frame is far below 4 GiB.
        self.buffer
            .put_u32(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        self.buffer.extend_from_slice(&frame);
    }

    pub(super) async fn flush(&mut self) -> Result<(), BenchError> {
        let bytes: Bytes = self.buffer.split().freeze();
        self.send
            .write_chunk(bytes)
            .await
            .map_err(BenchError::client)
    }
}

/// What the broker says to submissions.
pub(super) struct Answers {
    reader: FrameReader<RecvStream>,
}

impl Answers {
    /// The submissions that the next frame promises.
    pub(super) async fn next(&mut self) -> Result<Vec<u64>, BenchError> {
        let frame = self.reader.next().await.map_err(BenchError::client)?;
        let frame =
            frame.ok_or_else(|| BenchError::client("the broker ended the publish stream"))?;
        match decode(frame).map_err(BenchError::client)? {
            Frame::Promise { sequences, .. } => Ok(sequences),
            Frame::Rejected(rejected) => Err(BenchError::client(rejected.refusal)),
            _ => Err(BenchError::client(
                "a frame does not belong on the publish stream",
            )),
        }
    }
}
