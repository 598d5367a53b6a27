//! Health and metrics on a loopback port, and the log for everybody.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::engine::LogEngine;
use super::error::BrokerError;
use crate::ledger::{ENTRY_BYTES, Engine, EngineError};
use crate::proof::{TILE_WIDTH, TileKind, TilePath, bundle_bytes, tile_bytes};
use crate::transport::serve_http;

/// Listens where the configuration says.
pub(super) async fn listen(
    shared: &Arc<Shared>,
    tasks: &TaskTracker,
) -> Result<Option<SocketAddr>, BrokerError> {
    let Some(http) = &shared.config.http else {
        return Ok(None);
    };
    let address = http.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| BrokerError::Http { address, error })?;
    let address = listener.local_addr().map_err(BrokerError::Address)?;
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .merge(log_routes())
        .with_state(Arc::clone(shared));
    if let Some(address) = http.log {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| BrokerError::Http { address, error })?;
        serve(
            shared,
            tasks,
            listener,
            log_routes().with_state(Arc::clone(shared)),
        );
    }
    serve(shared, tasks, listener, routes);
    Ok(Some(address))
}

fn serve(shared: &Arc<Shared>, tasks: &TaskTracker, listener: TcpListener, routes: Router) {
    let limits = shared.config.http.as_ref().map(|http| http.limits);
    let (limits, stop) = (limits.unwrap_or_default(), shared.stop.clone());
    tasks.spawn(serve_http(listener, routes, limits, 0, stop));
}

/// The log as C2SP tlog-tiles says: its entries are salted commitments, and tell nobody anything.
fn log_routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/checkpoint", get(checkpoint))
        .route("/tile/{*path}", get(tile))
}

/// Changes with every checkpoint.
async fn checkpoint(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let shown = Arc::clone(&shared.log.head().published().borrow());
    if shown.note.is_empty() {
        return (StatusCode::NOT_FOUND, "nothing was signed yet\n").into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, shown.note.clone()).into_response()
}

/// Never changes. There is none beyond the last checkpoint.
async fn tile(State(shared): State<Arc<Shared>>, Path(path): Path<String>) -> impl IntoResponse {
    let signed = shared.log.head().published().borrow().size;
    let path = format!("tile/{path}").parse::<TilePath>().ok();
    let Some(path) = path.filter(|path| path.is_in(signed)) else {
        return (StatusCode::NOT_FOUND, "there is no such tile\n").into_response();
    };
    let read = tokio::task::spawn_blocking(move || read_tile(shared.log.engine(), &path)).await;
    match read {
        Ok(Ok(bytes)) => {
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            (headers, bytes).into_response()
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "a tile cannot be read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn read_tile(engine: &LogEngine, path: &TilePath) -> Result<Vec<u8>, EngineError> {
    if path.kind() != TileKind::Entries {
        return Ok(tile_bytes(&engine.tile(path)?));
    }
    let first = path.index() * u64::from(TILE_WIDTH);
    let entries = engine.entries(first, path.width().into())?;
    let entries = entries.iter().map(<[u8; ENTRY_BYTES]>::as_slice);
    bundle_bytes(entries).map_err(|error| EngineError::Unknown(error.to_string()))
}

/// Ready: the log is open and its last checkpoint was signed.
async fn ready(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    if shared.log.checkpoint().is_some() {
        (StatusCode::OK, "ready\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "no checkpoint was signed yet\n",
        )
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let mut text = String::new();
    let encoded = prometheus_client::encoding::text::encode(&mut text, &shared.metrics.registry());
    let status = if encoded.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    (status, [(header::CONTENT_TYPE, kind)], text)
}
