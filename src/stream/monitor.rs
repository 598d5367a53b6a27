//! Whether servers sync before they acknowledge: their monitoring address tells.

use serde::Deserialize;

use super::error::StreamError;
use super::nats::ANSWER;

/// What of `/varz` is looked at.
#[derive(Debug, Deserialize)]
struct Varz {
    #[serde(default)]
    jetstream: Jetstream,
}

#[derive(Debug, Default, Deserialize)]
struct Jetstream {
    #[serde(default)]
    config: JetstreamConfig,
}

#[derive(Debug, Default, Deserialize)]
struct JetstreamConfig {
    #[serde(default)]
    sync_always: bool,
}

/// Who asks; where a server answers that it fails, that is an error or an answer.
pub(super) fn agent(is_error: bool) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER))
        .http_status_as_error(is_error)
        .build()
        .into()
}

/// Refuses a server that acknowledges first; warns where nobody tells.
pub(super) fn check(monitors: &[String]) -> Result<(), StreamError> {
    if monitors.is_empty() {
        tracing::warn!(
            "whether the NATS servers sync before they acknowledge is not known: name their monitoring \
             addresses under stream.monitors, or see to `sync_interval: always` yourself"
        );
    }
    let agent = agent(true);
    for monitor in monitors {
        let address = format!("{}/varz", monitor.trim_end_matches('/'));
        let asked = agent.get(&address).call();
        let text = asked.and_then(|mut answer| answer.body_mut().read_to_string());
        let varz = match text {
            Ok(text) => serde_json::from_str::<Varz>(&text),
            Err(error) => {
                tracing::warn!(%error, %address, "whether this server syncs is not known");
                continue;
            }
        };
        if !varz.is_ok_and(|varz| varz.jetstream.config.sync_always) {
            return Err(StreamError::NotSynced(monitor.clone()));
        }
    }
    Ok(())
}
