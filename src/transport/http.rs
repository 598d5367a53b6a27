//! HTTP for strangers, with TLS or without: how many may connect, and how large and how slow their requests
//! may be.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::https::Tls;

/// Headers of one request.
const MAX_HEADERS: usize = 64;
/// After a listener failed, as where there are no descriptors left.
const BREATH: Duration = Duration::from_millis(100);
/// Requests that one connection may be kept for, in their time.
const KEPT: u32 = 6;

/// What strangers may use of a listener. The defaults serve a public log from a small machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpLimits {
    /// Connections at once; more wait until one ends. Default 256.
    pub connections: u16,
    /// Requests that are worked on at once; more are answered with 503. Default 32.
    pub requests: u16,
    /// Bytes of a request's head. Default 16,384.
    pub header_bytes: u32,
    /// Seconds for a request's head to come, and for its answer to be made. A connection ends after six
    /// times that. Default 10.
    pub seconds: u16,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            requests: 32,
            header_bytes: 16 * 1024,
            seconds: 10,
        }
    }
}

impl HttpLimits {
    fn time(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds.max(1)))
    }
}

/// Serves until it is told to stop; requests that are worked on by then are answered. `body` is the
/// largest body of a request, in bytes.
pub async fn serve_http(
    listener: TcpListener,
    routes: Router,
    limits: HttpLimits,
    body: usize,
    stop: CancellationToken,
) {
    serve(listener, None, routes, limits, body, stop).await;
}

/// As [`serve_http`], over TLS. A request of a client that showed a certificate bears it as an extension,
/// [`super::PeerCertificate`].
pub async fn serve_https(
    listener: TcpListener,
    tls: Tls,
    routes: Router,
    limits: HttpLimits,
    body: usize,
    stop: CancellationToken,
) {
    serve(listener, Some(tls), routes, limits, body, stop).await;
}

async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    routes: Router,
    limits: HttpLimits,
    body: usize,
    stop: CancellationToken,
) {
    let working = Arc::new(Working {
        requests: Semaphore::new(usize::from(limits.requests.max(1))),
        time: limits.time(),
    });
    let routes = routes
        .layer(DefaultBodyLimit::max(body))
        .layer(middleware::from_fn_with_state(working, within));
    let places = Arc::new(Semaphore::new(usize::from(limits.connections.max(1))));
    let tasks = TaskTracker::new();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = next => accepted,
        };
        match accepted {
            Some((place, Ok((stream, _)))) => {
                let (tls, routes, stop) = (tls.clone(), routes.clone(), stop.clone());
                tasks.spawn(async move {
                    match tls {
                        None => converse(stream, routes, limits, stop).await,
                        Some(tls) => guarded(stream, tls, routes, limits, stop).await,
                    }
                    drop(place);
                });
            }
            Some((_, Err(error))) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(BREATH).await;
            }
            None => break,
        }
    }
    tasks.close();
    // Each of them ends within its time.
    tasks.wait().await;
}

/// Shakes hands first, in the time of a request's head.
async fn guarded(
    stream: TcpStream,
    tls: Tls,
    routes: Router,
    limits: HttpLimits,
    stop: CancellationToken,
) {
    let shaken = tokio::select! {
        () = stop.cancelled() => return,
        shaken = tokio::time::timeout(limits.time(), tls.accept(stream)) => shaken,
    };
    match shaken {
        Ok(Ok((stream, certificate))) => {
            let routes = match certificate {
                Some(certificate) => routes.layer(Extension(certificate)),
                None => routes,
            };
            converse(stream, routes, limits, stop).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => {}
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    routes: Router,
    limits: HttpLimits,
    stop: CancellationToken,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.time())
        .max_headers(MAX_HEADERS)
        .max_header_size(usize::try_from(limits.header_bytes).unwrap_or(usize::MAX));
    let service = TowerToHyperService::new(routes);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let end = tokio::time::sleep(limits.time() * KEPT);
    tokio::select! {
        served = connection.as_mut() => {
            if let Err(error) = served {
                tracing::debug!(%error, "an HTTP connection ended");
            }
        }
        () = end => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // What is worked on is answered, in its time.
            let _ = tokio::time::timeout(limits.time(), connection).await;
        }
    }
}

/// What is worked on now.
struct Working {
    requests: Semaphore,
    time: Duration,
}

/// Works on a request where there is room, within its time.
async fn within(State(working): State<Arc<Working>>, request: Request, next: Next) -> Response {
    let Ok(_room) = working.requests.try_acquire() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "busy; try again\n").into_response();
    };
    let answered = tokio::time::timeout(working.time, next.run(request)).await;
    answered.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    use axum::routing::{get, post};
    use bytes::Bytes;
    use tokio::sync::Notify;

    use super::*;

    /// What `/held` waits for.
    #[derive(Default)]
    struct Gate {
        entered: Notify,
        leaves: Notify,
    }

    /// Serves with these limits, and tells where.
    async fn served(limits: HttpLimits) -> (SocketAddr, CancellationToken, Arc<Gate>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, gate) = (CancellationToken::new(), Arc::new(Gate::default()));
        let held = Arc::clone(&gate);
        let routes = Router::new()
            .route("/", get(|| async { "ok" }))
            .route(
                "/",
                post(|body: Bytes| async move { body.len().to_string() }),
            )
            .route(
                "/held",
                get(move || async move {
                    held.entered.notify_one();
                    held.leaves.notified().await;
                    "held"
                }),
            );
        tokio::spawn(serve_http(listener, routes, limits, 64, stop.clone()));
        (address, stop, gate)
    }

    /// Sends a request and reads until the other side ends.
    async fn said(address: SocketAddr, request: String) -> String {
        let talk = move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            // It may be reset where the answer came before all was read.
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        };
        tokio::task::spawn_blocking(talk).await.unwrap()
    }

    fn request(head: &str, more: &str) -> String {
        format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_too_large_or_too_slow_is_turned_away() {
        let limits = HttpLimits {
            header_bytes: 1_024,
            seconds: 1,
            ..HttpLimits::default()
        };
        let (address, stop, _gate) = served(limits).await;
        let ok = said(address, request("GET /", "")).await;
        assert!(ok.starts_with("HTTP/1.1 200"), "{ok}");
        let large = format!("x: {}\r\n", "y".repeat(2_000));
        let large = said(address, request("GET /", &large)).await;
        assert!(large.starts_with("HTTP/1.1 431"), "{large}");
        let fits = request("POST /", "content-length: 64\r\n") + &"z".repeat(64);
        assert!(said(address, fits).await.ends_with("64"));
        let body = request("POST /", "content-length: 65\r\n") + &"z".repeat(65);
        let body = said(address, body).await;
        assert!(body.starts_with("HTTP/1.1 413"), "{body}");
        // One that never ends its head, and one whose answer never comes.
        let slow = said(address, "GET / HTTP/1.1\r\nx:".into()).await;
        assert!(!slow.starts_with("HTTP/1.1 200"), "{slow}");
        let held = said(address, request("GET /held", "")).await;
        assert!(held.starts_with("HTTP/1.1 408"), "{held}");
        stop.cancel();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn there_is_room_for_so_many_and_no_more() {
        let limits = HttpLimits {
            connections: 2,
            requests: 1,
            seconds: 60,
            ..HttpLimits::default()
        };
        let (address, stop, gate) = served(limits).await;
        let held = tokio::spawn(said(address, request("GET /held", "")));
        gate.entered.notified().await;
        let busy = said(address, request("GET /", "")).await;
        assert!(busy.starts_with("HTTP/1.1 503"), "{busy}");
        // Two connections are all: a third waits until one ends.
        let idle = TcpStream::connect(address).unwrap();
        let mut third = TcpStream::connect(address).unwrap();
        third
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        third.write_all(request("GET /", "").as_bytes()).unwrap();
        let mut byte = [0];
        assert!(third.read(&mut byte).is_err(), "nobody answers");
        drop(idle);
        third
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        assert_eq!(third.read(&mut byte).unwrap(), 1);
        gate.leaves.notify_one();
        assert!(held.await.unwrap().ends_with("held"));
        stop.cancel();
    }
}
