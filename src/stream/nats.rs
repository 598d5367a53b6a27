//! The connection to the servers, for threads that wait.
//!
//! The writer of the log is a thread, and readers are, too; what talks to the servers runs on a runtime of its
//! own, so that waiting for it never depends on who waits.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, ServerAddr};
use tokio::runtime::{Builder, Handle, Runtime};

use super::config::StreamConfig;
use super::error::StreamError;

/// How long a server may take to answer one request.
pub(super) const ANSWER: Duration = Duration::from_secs(2);
/// How long several of them may take together: the library waits for some without limit.
const LONGEST: Duration = Duration::from_secs(10);
/// How long the first connection may take.
const FIRST: Duration = Duration::from_secs(30);
/// A server that says nothing for two of these is left for another.
const PING: Duration = Duration::from_secs(1);
/// What is said where nothing is heard any more.
pub(super) const CLOSED: &str = "the connection to the servers is closed";
/// The largest record fits into a message of this size.
const PAYLOAD: usize = 8 * 1000 * 1000;
/// The oldest version that keeps what a ledger needs.
const OLDEST: (u64, u64) = (2, 12);

/// A connection, and the runtime it lives on.
#[derive(Debug)]
pub(super) struct Nats {
    runtime: Option<Runtime>,
    handle: Handle,
    context: Context,
}

impl Nats {
    /// Connects to one of the servers, and refuses one that is too old.
    pub(super) fn connect(servers: &Path, config: &StreamConfig) -> Result<Self, StreamError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("stream")
            .enable_all()
            .build()
            .map_err(StreamError::Runtime)?;
        let handle = runtime.handle().clone();
        let text = servers.to_string_lossy().into_owned();
        let (asked, config) = (text.clone(), config.clone());
        let client = run(&handle, async move { connect(&asked, &config).await });
        let client = client.map_err(|reason| StreamError::Unreachable {
            servers: text,
            reason,
        })?;
        let info = client.server_info();
        if !is_recent(&info.version) {
            return Err(StreamError::OldServer {
                server: info.server_name,
                version: info.version,
            });
        }
        if info.max_payload < PAYLOAD {
            tracing::warn!(
                max_payload = info.max_payload,
                "the NATS servers take small messages: set `max_payload: 8MB`, or a large record is refused for ever"
            );
        }
        let context = ContextBuilder::new()
            .timeout(ANSWER)
            .ack_timeout(ANSWER)
            .build(client);
        Ok(Self {
            runtime: Some(runtime),
            handle,
            context,
        })
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// The runtime, for tasks that go on.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The most bytes that the server takes in one message.
    pub(super) fn max_message(&self) -> usize {
        self.context.client().server_info().max_payload
    }

    /// Begins to do something with the servers; for a while. What becomes of it is told.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, StreamError>> + Send + 'static,
    ) -> mpsc::Receiver<Result<T, StreamError>> {
        let (done, waiting) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            let bounded = tokio::time::timeout(LONGEST, future).await;
            // Whoever waited may be gone.
            let _ = done.send(bounded.unwrap_or_else(|_| Err(too_long())));
        });
        waiting
    }

    /// Does something with the servers and waits for it; for a while.
    pub(super) fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, StreamError>> + Send + 'static,
    ) -> Result<T, StreamError> {
        let closed = || StreamError::Unavailable(CLOSED.to_owned());
        let done = self.begin(future).recv();
        done.unwrap_or_else(|_| Err(closed()))
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // It may be dropped where waiting is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits for a future of another runtime, from anywhere.
fn run<T: Send + 'static>(
    handle: &Handle,
    future: impl Future<Output = Result<T, String>> + Send + 'static,
) -> Result<T, String> {
    let (done, waiting) = mpsc::sync_channel(1);
    handle.spawn(async move {
        // Whoever waited may be gone.
        let _ = done.send(future.await);
    });
    let stopped = |_| Err(CLOSED.to_owned());
    waiting.recv().unwrap_or_else(stopped)
}

fn too_long() -> StreamError {
    let seconds = LONGEST.as_secs();
    StreamError::Unavailable(format!("nothing came of a request within {seconds} s"))
}

async fn connect(servers: &str, config: &StreamConfig) -> Result<Client, String> {
    // The client library asks for the process's provider, of which this program has none otherwise.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut options = ConnectOptions::new()
        .name("entente broker")
        .ping_interval(PING)
        .connection_timeout(ANSWER)
        .request_timeout(Some(ANSWER))
        .max_reconnects(None)
        // Only those that the operator named: what a server says of others is not to be believed.
        .ignore_discovered_servers()
        .reconnect_delay_callback(|tries| Duration::from_millis(50 << tries.min(5)));
    if let Some(roots) = &config.roots {
        options = options
            .add_root_certificates(roots.clone())
            .require_tls(true);
    }
    if let Some((certificate, key)) = config.certificate.clone().zip(config.key.clone()) {
        options = options.add_client_certificate(certificate, key);
    }
    if let Some(credentials) = &config.credentials {
        let with = options.credentials_file(credentials).await;
        options = with.map_err(|error| format!("{}: {error}", credentials.display()))?;
    }
    let addresses = addresses(servers)?;
    let patience = backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_total_delay(Some(FIRST))
        .without_max_times();
    let connecting = || {
        let (options, addresses) = (options.clone(), addresses.clone());
        async move { options.connect(addresses).await }
    };
    let connected = backon::Retryable::retry(connecting, patience).await;
    connected.map_err(|error| error.to_string())
}

/// The servers of a place: `nats://10.0.0.1:4222,10.0.0.2:4222`.
fn addresses(servers: &str) -> Result<Vec<ServerAddr>, String> {
    let (scheme, hosts) = servers
        .split_once("://")
        .ok_or("write it as nats://HOST:PORT,HOST:PORT")?;
    let address = |host: &str| {
        let address = format!("{scheme}://{}", host.trim());
        let parsed = address.parse::<ServerAddr>();
        parsed.map_err(|error| format!("`{address}`: {error}"))
    };
    hosts.split(',').map(address).collect()
}

/// Whether a server's version is one that a ledger can be trusted to.
fn is_recent(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLDEST,
        _ => false,
    }
}

/// What an error of the client library says, with what is under it.
pub(super) fn unavailable(error: impl std::error::Error) -> StreamError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    StreamError::Unavailable(text)
}

pub(super) type Stream = jetstream::stream::Stream;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_and_those_that_do_not_tell_are_refused() {
        for version in ["2.12.0", "2.15.1", "2.12.0-RC.1", "3.0.0"] {
            assert!(is_recent(version), "{version}");
        }
        for version in ["2.9.10", "2.11.9", "1.4.1", "", "latest"] {
            assert!(!is_recent(version), "{version}");
        }
    }

    #[test]
    fn a_place_names_all_servers() {
        let all = addresses("nats://10.0.0.1:4222, 10.0.0.2:4223").unwrap();
        let ports: Vec<u16> = all.iter().map(ServerAddr::port).collect();
        assert_eq!(ports, [4222, 4223]);
        assert!(addresses("10.0.0.1:4222").is_err());
    }
}
