//! Witnesses are asked to cosign each checkpoint, each one at a time: connected nodes on their control
//! streams, others over HTTP, where the policy says (C2SP tlog-witness).

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::Shared;
use super::commit::Log;
use super::error::BrokerError;
use crate::proof::{Known, MAX_REQUEST_BYTES, NoteKey, SignatureLine};

/// How long an answer over HTTP may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A witness that did not answer is asked again after this.
const RETRY: Duration = Duration::from_secs(5);

/// One witness, as far as it is known here.
#[derive(Debug)]
pub(super) struct Witness {
    name: String,
    keys: Vec<NoteKey>,
    /// The size that it cosigned last.
    old: u64,
    /// The largest size that it was asked about, or that it refused.
    asked: u64,
    /// The largest size about which it said that it knows another one.
    disputed: u64,
    /// The request that waits for its answer.
    open: Option<u64>,
    sequence: u64,
}

impl Witness {
    /// A witness with those of its keys that count here.
    pub(super) fn new(name: String, keys: Vec<NoteKey>) -> Self {
        Self {
            name,
            keys,
            old: 0,
            asked: 0,
            disputed: 0,
            open: None,
            sequence: 0,
        }
    }

    /// Its keys.
    pub(super) fn keys(&self) -> &[NoteKey] {
        &self.keys
    }

    /// What it is to be asked now, if anything: a number for the answer, and the request's body.
    pub(super) fn request(&mut self, log: &Log) -> Result<Option<(u64, String)>, BrokerError> {
        let signed = log.head().signed_size().unwrap_or(0);
        if self.keys.is_empty() || self.open.is_some() || signed <= self.asked {
            return Ok(None);
        }
        let request = log.head().request(log.engine(), self.old)?;
        let Some((size, request)) = request else {
            return Ok(None);
        };
        self.asked = size;
        self.sequence += 1;
        self.open = Some(self.sequence);
        Ok(Some((self.sequence, request.to_string())))
    }

    /// It did not answer: it is asked again.
    fn unanswered(&mut self) {
        self.open = None;
        self.asked = 0;
    }

    /// Takes its answer.
    pub(super) fn answered(&mut self, log: &Log, sequence: u64, status: u16, body: &str) {
        if self.open != Some(sequence) {
            return;
        }
        self.open = None;
        match status {
            200 => {
                let lines = SignatureLine::parse_all(body).unwrap_or_default();
                self.old = self.asked;
                log.head().heard(&self.keys);
                log.head().cosign(self.asked, &self.keys, lines);
            }
            409 => {
                // It knows another size than this session thought, as after a reconnect.
                let known = body.trim_end().parse().ok();
                let known = known.filter(|size| *size <= self.asked && *size != self.old);
                match known {
                    // Once for each checkpoint: it costs a proof.
                    Some(size) if self.asked > self.disputed => {
                        log.head().heard(&self.keys);
                        self.disputed = self.asked;
                        self.old = size;
                        self.asked = 0;
                    }
                    _ => {
                        let body: String = body.chars().take(200).collect();
                        tracing::error!(witness = self.name, body, "a witness knows another log");
                    }
                }
            }
            status => {
                let body: String = body.chars().take(200).collect();
                tracing::error!(
                    witness = self.name,
                    status,
                    body,
                    "a witness does not cosign"
                );
            }
        }
    }
}

/// Asks those of the policy's witnesses that have a URL.
pub(super) fn ask_over_http(shared: &Arc<Shared>, tasks: &TaskTracker) {
    for (name, known) in shared.log.head().remote() {
        let witness = Witness::new(name, vec![known.key.clone()]);
        tasks.spawn(ask(Arc::clone(shared), witness, known));
    }
}

async fn ask(shared: Arc<Shared>, mut witness: Witness, known: Known) {
    let url = format!(
        "{}/add-checkpoint",
        known.url.unwrap_or_default().trim_end_matches('/')
    );
    let mut signed = shared.log.head().signed();
    signed.mark_changed();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = signed.changed() => if changed.is_err() { return },
        }
        signed.borrow_and_update();
        // Until it knows all that was signed.
        loop {
            let request = witness.request(&shared.log).unwrap_or_else(|error| {
                tracing::error!(%error, "a witness could not be asked");
                None
            });
            let Some((sequence, body)) = request else {
                break;
            };
            let to = url.clone();
            let asked = tokio::task::spawn_blocking(move || post(&to, &body));
            let answer = tokio::select! {
                () = shared.stop.cancelled() => return,
                answer = asked => answer,
            };
            match answer {
                Ok(Ok((status, body))) => {
                    witness.answered(&shared.log, sequence, status, &body);
                }
                Ok(Err(error)) => {
                    tracing::warn!(witness = witness.name, %error, "a witness does not answer");
                    witness.unanswered();
                    tokio::select! {
                        () = shared.stop.cancelled() => return,
                        () = tokio::time::sleep(RETRY) => {}
                    }
                }
                Err(_) => return,
            }
        }
    }
}

fn post(url: &str, body: &str) -> Result<(u16, String), ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = agent.post(url).content_type("text/plain").send(body)?;
    let status = answer.status().as_u16();
    let limit = u64::try_from(MAX_REQUEST_BYTES).unwrap_or(u64::MAX);
    let body = answer.body_mut().with_config().limit(limit);
    Ok((status, body.read_to_string()?))
}
