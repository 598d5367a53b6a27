//! A webhook: an application that is called instead of calling.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use super::Shared;
use super::config::WebhookConfig;
use super::local::{advance, unconsumed};
use super::view::ItemView;

/// The longest one delivery may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Posts each bulletin of the inbox in order, again until it is taken (status 2xx).
pub(super) async fn run(shared: Arc<Shared>, webhook: WebhookConfig) {
    let consumer = format!("webhook:{}", webhook.name);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .build()
        .into();
    let purpose = webhook.purpose;
    let stop = shared.stop.clone();
    let mut arrived = shared.inbox.subscribe();
    loop {
        arrived.borrow_and_update();
        let (asked, name) = (Arc::clone(&shared), consumer.clone());
        let next = tokio::task::spawn_blocking(move || unconsumed(&asked, &name, 1, purpose)).await;
        let next = match next {
            Ok(Ok(items)) => items.into_iter().next(),
            Ok(Err(trouble)) => {
                tracing::error!(reason = trouble.message, "the inbox cannot be read");
                return;
            }
            Err(_) => return,
        };
        let posting = async {
            match next {
                Some(item) => post(&shared, &agent, &webhook, &consumer, item).await,
                None => {
                    let _ = arrived.changed().await;
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = posting => {}
        }
    }
}

async fn post(
    shared: &Arc<Shared>,
    agent: &ureq::Agent,
    webhook: &WebhookConfig,
    consumer: &str,
    item: ItemView,
) {
    let (number, item) = (item.number, Arc::new(item));
    let mut patience = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_mins(1))
        .with_jitter()
        .without_max_times()
        .build();
    loop {
        let (agent, url, item) = (agent.clone(), webhook.url.clone(), Arc::clone(&item));
        let posted = tokio::task::spawn_blocking(move || {
            let body = serde_json::to_string(item.as_ref())
                .map_err(|error| ureq::Error::Other(Box::new(error)))?;
            agent.post(&url).content_type("application/json").send(body)
        });
        match posted.await {
            Ok(Ok(_)) => break,
            Ok(Err(error)) => tracing::warn!(webhook = webhook.name, %error, "not taken"),
            Err(_) => return,
        }
        tokio::time::sleep(patience.next().unwrap_or(Duration::from_mins(1))).await;
    }
    let (shared, consumer) = (Arc::clone(shared), consumer.to_owned());
    let advanced = tokio::task::spawn_blocking(move || advance(&shared, &consumer, number)).await;
    if let Ok(Err(trouble)) = advanced {
        let error = trouble.message;
        tracing::error!(%error, "the place of a webhook could not be noted");
    }
}
