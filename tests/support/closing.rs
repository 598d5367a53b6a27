//! How a connection ends, for tests.

use std::time::Duration;

use quinn::Connection;

/// How long a refusal may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// The code of the refusal with which the broker closed a connection.
pub(crate) async fn closed_with(connection: &Connection) -> String {
    let closed = tokio::time::timeout(PATIENCE, connection.closed())
        .await
        .expect("it is closed");
    let quinn::ConnectionError::ApplicationClosed(close) = closed else {
        return closed.to_string();
    };
    let reason = String::from_utf8_lossy(&close.reason).into_owned();
    let code = reason
        .strip_suffix(')')
        .and_then(|reason| reason.rsplit_once('('))
        .map(|(_, code)| code);
    code.unwrap_or(&reason).to_owned()
}
