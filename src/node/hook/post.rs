//! Posts a bulletin to an application, signed as Standard Webhooks has it.

use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64;
use ring::hmac;
use zeroize::Zeroizing;

use super::config::WebhookConfig;
use super::{Failed, ItemView};
use crate::clock::Timestamp;
use crate::identity::read_private;
use crate::node::NodeError;
use crate::transport::http_agent;

/// The longest one delivery may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What stands before a secret's base64.
const PREFIX: &str = "whsec_";
/// Bytes of a secret.
const SECRET: std::ops::RangeInclusive<usize> = 24..=64;

/// Where and how it is posted.
#[derive(Clone)]
pub(super) struct Post {
    agent: ureq::Agent,
    url: String,
    secret: Option<hmac::Key>,
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Post")
    }
}

impl Post {
    pub(super) fn new(config: &WebhookConfig) -> Result<Self, NodeError> {
        let secret = config.secret.as_ref().map(|path| {
            let text = read_private(path)?;
            let key = key(&text);
            key.ok_or_else(|| unusable(path, "no secret as `entente hook secret` makes it"))
        });
        let roots = config.roots.as_ref().map(|path| {
            std::fs::read(path).map_err(|error| NodeError::File {
                path: path.clone(),
                error,
            })
        });
        let agent = http_agent(TIMEOUT, roots.transpose()?.as_deref()).map_err(|error| {
            let path = config.roots.clone().unwrap_or_default();
            unusable(&path, &error.to_string())
        })?;
        Ok(Self {
            agent,
            url: config.url.clone(),
            secret: secret.transpose()?,
        })
    }

    /// Posts it once. Blocks.
    pub(super) fn attempt(&self, item: &ItemView, now: Timestamp) -> Result<(), Failed> {
        let body = serde_json::to_vec(item).map_err(|error| Failed::for_good(error.to_string()))?;
        let (id, seconds) = (item.id.to_string(), now.micros() / 1_000_000);
        let mut request = self
            .agent
            .post(&self.url)
            .content_type("application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", seconds.to_string());
        if let Some(key) = &self.secret {
            request = request.header("webhook-signature", signature(key, &id, seconds, &body));
        }
        let answer = request.send(&body[..]);
        let answer = answer.map_err(|error| Failed::for_now(error.to_string()))?;
        let status = answer.status().as_u16();
        let reason = format!("it answers with status {status}");
        match status {
            200..=299 => Ok(()),
            // About this bulletin, and no other try would change it.
            400 | 410 | 413 | 415 | 422 => Err(Failed::for_good(reason)),
            _ => Err(Failed::for_now(reason)),
        }
    }
}

/// `v1,` and the HMAC-SHA256 over id, time and body, in base64.
fn signature(key: &hmac::Key, id: &str, seconds: i64, body: &[u8]) -> String {
    let mut signed = format!("{id}.{seconds}.").into_bytes();
    signed.extend_from_slice(body);
    format!("v1,{}", BASE64.encode(hmac::sign(key, &signed).as_ref()))
}

fn key(text: &str) -> Option<hmac::Key> {
    let encoded = text.trim().strip_prefix(PREFIX)?;
    let bytes = Zeroizing::new(BASE64.decode(encoded.as_bytes()).ok()?);
    let fits = SECRET.contains(&bytes.len());
    fits.then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn unusable(path: &std::path::Path, what: &str) -> NodeError {
    NodeError::Config {
        path: PathBuf::from(path),
        message: format!("this file has {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_of_the_specification() {
        // The example of Standard Webhooks 1.0.0 and its libraries.
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        assert_eq!(
            signature(
                &key,
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                br#"{"test": 2432232314}"#
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_is_long_and_written_in_one_way() {
        for text in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_c2hvcnQ=",
            "whsec_!",
        ] {
            assert!(key(text).is_none(), "{text}");
        }
    }
}
