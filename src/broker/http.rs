//! Health and metrics on a loopback port.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::error::BrokerError;

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
        .with_state(Arc::clone(shared));
    let stop = shared.stop.clone();
    tasks.spawn(async move {
        let served = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "health and metrics are no longer served");
        }
    });
    Ok(Some(address))
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
