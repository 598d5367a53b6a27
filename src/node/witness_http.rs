//! This node's witness over HTTP, for logs that it is not connected to (C2SP tlog-witness, with the edits of
//! 2026-07).
//!
//! ```text
//! POST /add-checkpoint                         200, 400, 403, 404, 409, 422
//! GET  /<hex SHA-256(origin)>/checkpoint       what was cosigned last, with the cosignature
//! ```
//!
//! Anybody may ask: only the signature of a log that is known here counts, and nothing that is not proved
//! becomes an alarm.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::config::WitnessConfig;
use super::error::NodeError;
use super::witness::{MAX_BYTES, Source};
use crate::proof::{SIZE_MEDIA_TYPE, WitnessRefusal};
use crate::transport::serve_http;

const TEXT: &str = "text/plain; charset=utf-8";

/// A witness's listener, bound and not serving yet.
pub(super) struct Bound {
    listener: TcpListener,
    config: WitnessConfig,
    pub(super) address: SocketAddr,
}

/// Listens where the configuration says.
pub(super) fn bind(config: &WitnessConfig) -> Result<Bound, NodeError> {
    let failed = |error| NodeError::Listen {
        address: config.listen,
        error,
    };
    let listener = std::net::TcpListener::bind(config.listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Bound {
        listener,
        config: config.clone(),
        address,
    })
}

/// Serves until the node stops.
pub(super) fn serve(shared: &Arc<Shared>, tasks: &TaskTracker, bound: Bound) {
    let routes = Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{origin}/checkpoint", get(checkpoint))
        .with_state(Arc::clone(shared));
    let (limits, stop) = (bound.config.limits, shared.stop.clone());
    tasks.spawn(serve_http(bound.listener, routes, limits, MAX_BYTES, stop));
}

async fn add_checkpoint(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let Ok(request) = String::from_utf8(body.into()) else {
        let refusal = WitnessRefusal::Malformed("it is no text");
        return answer(refusal.status(), refusal.body());
    };
    // A request that is given up is judged to its end all the same: what was cosigned is kept.
    let judged = tokio::task::spawn_blocking(move || {
        let now = shared.clock.now();
        shared.witness.add_checkpoint(
            &shared.store,
            |origin| super::witness::known_log(&shared, origin),
            &request,
            now,
            Source::Anybody,
        )
    });
    match judged.await {
        Ok(Ok((status, body))) => answer(status, body),
        Ok(Err(error)) => {
            tracing::error!(%error, "the witness cannot answer");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn answer(status: u16, body: String) -> Response {
    let kind = match status {
        409 => SIZE_MEDIA_TYPE,
        _ => TEXT,
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}

async fn checkpoint(State(shared): State<Arc<Shared>>, Path(origin): Path<String>) -> Response {
    let found = tokio::task::spawn_blocking(move || {
        let now = shared.clock.now();
        let logs = super::witness::known_logs(&shared)?;
        let mut logs = logs.iter();
        match logs.find(|log| super::witness::origin_hash(log.name()) == origin) {
            Some(log) => shared.witness.cosigned(&shared.store, log, now),
            None => Ok(None),
        }
    });
    match found.await {
        Ok(Ok(Some(note))) => {
            let headers = [
                (header::CONTENT_TYPE, TEXT),
                (header::CACHE_CONTROL, "no-cache"),
            ];
            (headers, note).into_response()
        }
        Ok(Ok(None)) => (
            StatusCode::NOT_FOUND,
            "nothing of such a log was cosigned here\n",
        )
            .into_response(),
        Ok(Err(error)) => {
            tracing::error!(%error, "the witness cannot answer");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
