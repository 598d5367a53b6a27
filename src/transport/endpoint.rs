//! QUIC endpoints with every window set.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig,
    TransportConfig,
};
use quinn_proto::RandomConnectionIdGenerator;
use ring::hmac;
use thiserror::Error;

use super::datagrams::Datagrams;
use super::socket::{BufferReport, bind};

/// What one stream may have in flight towards us.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// What one lane may have in flight towards a node: what is urgent arrives behind so much of what is not. Enough for
/// 2.5 MB/s over 100 ms.
const LANE_WINDOW: u32 = 256 * 1024;
/// What one connection may have in flight towards us, all streams together. quinn's default is
/// without limit.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// What we may have in flight towards one peer.
const SEND_WINDOW: u64 = 4 * 1024 * 1024;
/// Packets that a peer may leave without an acknowledgement (draft-ietf-quic-ack-frequency), since each costs a system call at
/// both ends; and for how long: a path that loses much has a window of no more than two. Of a peer that does not know
/// the extension nothing changes.
const UNACKNOWLEDGED: u32 = 3;
const ACK_DELAY: Duration = Duration::from_millis(5);
/// Streams a peer may open: control and publish, or the lanes, and room for a newer version.
const MAX_STREAMS: u32 = 16;
/// Bytes of a broker's connection ids. quinn's own have three random ones, and nothing sees to it that what a Retry gives
/// out is not in use: of two thousand nodes at once one or two were taken for another, and heard of it after 20 seconds.
const CONNECTION_ID: usize = 12;
/// A connection on which nothing is heard is dead.
const IDLE: Duration = Duration::from_secs(20);
/// One side asks often enough that a live connection is never idle.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// Handshakes waiting, and bytes they may have sent already, each and all together: those of an alliance that connects
/// again at once.
const MAX_INCOMING: usize = 8 * 1024;
const INCOMING_BYTES: u64 = 64 * 1024;
const INCOMING_TOTAL_BYTES: u64 = 32 * 1024 * 1024;

/// An endpoint that cannot be opened.
#[derive(Debug, Error)]
#[error("cannot listen on UDP {address}: {error}")]
pub struct EndpointError {
    /// Where.
    pub address: SocketAddr,
    /// What the system says.
    pub error: io::Error,
}

fn transport() -> TransportConfig {
    let mut acknowledging = AckFrequencyConfig::default();
    acknowledging
        .ack_eliciting_threshold(UNACKNOWLEDGED.into())
        .max_ack_delay(Some(ACK_DELAY));
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        .max_concurrent_bidi_streams(MAX_STREAMS.into())
        .max_concurrent_uni_streams(MAX_STREAMS.into())
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .datagram_receive_buffer_size(None)
        .ack_frequency_config(Some(acknowledging))
        // A hybrid ClientHello needs two packets anyway; a larger one costs a timeout where the
        // path does not carry it. Discovery raises it afterwards.
        .initial_mtu(1200)
        .allow_spin(false);
    transport
}

/// The secret with which an endpoint tells peers of a process before it that their connections are
/// gone (RFC 9000, section 10.3). With a new secret at each start, a node would learn of its
/// broker's restart only when the connection times out.
pub struct ResetSecret(hmac::Key);

impl std::fmt::Debug for ResetSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResetSecret")
    }
}

impl ResetSecret {
    /// Derived from a secret that outlives the process.
    pub fn derive(secret: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let reset = hmac::sign(&key, b"entente/stateless-reset/v1");
        Self(hmac::Key::new(hmac::HMAC_SHA256, reset.as_ref()))
    }
}

/// The broker's endpoint. Where `silent` says so, either side gives up a connection on which nothing was heard for
/// so long, and the broker asks often enough that this does not happen to a live one.
pub fn server_endpoint(
    address: SocketAddr,
    tls: Arc<QuicServerConfig>,
    secret: ResetSecret,
    silent: Option<Duration>,
) -> Result<(Endpoint, BufferReport), EndpointError> {
    let mut config = ServerConfig::with_crypto(tls);
    let mut transport = transport();
    if let Some(silent) = silent {
        transport
            .max_idle_timeout(IdleTimeout::try_from(silent).ok())
            .keep_alive_interval(Some(silent / 4));
    }
    config
        .transport_config(Arc::new(transport))
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_TOTAL_BYTES);
    let mut endpoint = EndpointConfig::new(Arc::new(secret.0));
    endpoint.cid_generator(|| Box::new(RandomConnectionIdGenerator::new(CONNECTION_ID)));
    open(address, endpoint, Some(config))
}

/// A node's endpoint, which connects with `tls`.
pub fn client_endpoint(
    address: SocketAddr,
    tls: Arc<QuicClientConfig>,
) -> Result<(Endpoint, BufferReport), EndpointError> {
    let (mut endpoint, report) = open(address, EndpointConfig::default(), None)?;
    let mut transport = transport();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .stream_receive_window(LANE_WINDOW.into());
    let mut config = ClientConfig::new(tls);
    config.transport_config(Arc::new(transport));
    endpoint.set_default_client_config(config);
    Ok((endpoint, report))
}

fn open(
    address: SocketAddr,
    mut config: EndpointConfig,
    server: Option<ServerConfig>,
) -> Result<(Endpoint, BufferReport), EndpointError> {
    let failed = |error| EndpointError { address, error };
    let (socket, report) = bind(address).map_err(failed)?;
    // Of Ethernet: with 8,952 for jumbo frames a bulletin costs 3 % more on loopback, and a handshake half as much again,
    // because quinn's buffer grows with it.
    config
        .max_udp_payload_size(1472)
        .map_err(|error| failed(io::Error::other(error)))?;
    let endpoint = Endpoint::new(config, server, socket, Arc::new(Datagrams));
    Ok((endpoint.map_err(failed)?, report))
}
