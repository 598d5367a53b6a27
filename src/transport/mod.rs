//! QUIC: endpoints, mutual TLS, and frames on streams. Moves bytes between known peers, and over HTTP to
//! strangers; knows no bulletin.
//!
//! The traps of TLS under QUIC, and where each is closed:
//!
//! | trap | closed in |
//! |---|---|
//! | a resumed session skips the client verifier | `tls.rs`: no tickets, no session storage |
//! | 0-RTT data can be replayed, and comes before the client is known | `tls.rs`: rustls's own default, and never `into_0rtt` |
//! | an expired CRL is ignored | `verifier.rs`: expiry enforced |
//! | roots of one partner vouch for another | `verifier.rs`: chosen by the claimed trust domain, checked again |
//! | the root hints list every partner | `verifier.rs`: no hints |
//! | a connected peer is never looked at again | `peer.rs`: rechecked whenever trust changes |
//! | windows without limit | `endpoint.rs` |
//! | HTTP without limits of its own | `http.rs` |
//! | default socket buffers lose a storm | `socket.rs` |

mod agent;
mod datagrams;
mod endpoint;
mod http;
mod https;
mod local;
mod peer;
mod socket;
mod stream;
mod tls;
mod verifier;

pub use agent::{NoRoots, http_agent};
pub use endpoint::{EndpointError, ResetSecret, client_endpoint, server_endpoint};
pub use http::{HttpLimits, serve_http, serve_https};
pub use https::{PeerCertificate, Tls};
pub use local::{LocalError, LocalListener, Trouble, ask};
pub use peer::{PeerError, PeerIdentity};
pub use socket::{BUFFER_BYTES, BufferReport};
pub use stream::{FrameReader, ReadError, write_frame};
pub use tls::{ALPN, Credentials, Kex, TlsError, client_config, server_config};
pub use verifier::{Trust, TrustError, TrustedPartner};
