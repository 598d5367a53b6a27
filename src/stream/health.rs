//! How the servers are, as their monitoring addresses say: one that holds the stream no more is missed by nobody as long
//! as the others are a majority, and would be when the next one goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use super::monitor::agent;

/// The pause between two looks. What two looks, one after the other, see is said: a server that starts, or lets another
/// lead, is not well for a moment.
const LOOK: Duration = Duration::from_secs(5);

/// What of `/healthz` is looked at.
#[derive(Debug, Default, Deserialize)]
struct Healthz {
    #[serde(default)]
    error: String,
}

/// Servers that are not well.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// What each that is not well says, and whether it was so at the look before.
    ailing: Mutex<BTreeMap<String, Ailing>>,
}

#[derive(Debug)]
struct Ailing {
    what: String,
    is_known: bool,
}

impl Health {
    /// What an operator must look at.
    pub(super) fn alarms(&self) -> Vec<String> {
        let ailing = self.lock();
        let known = ailing.iter().filter(|(_, one)| one.is_known);
        let alarm = |(monitor, one): (&String, &Ailing)| {
            format!(
                "the NATS server at {monitor} is not well: {}; see docs/brokers.md, \"is not well\"",
                one.what
            )
        };
        known.map(alarm).collect()
    }

    /// Notes what a look at a server saw; `None`: it is well.
    fn note(&self, monitor: &str, what: Option<String>) {
        let mut ailing = self.lock();
        let was_ill = ailing.remove(monitor).is_some();
        if let Some(what) = what {
            let is_known = was_ill;
            ailing.insert(monitor.to_owned(), Ailing { what, is_known });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Ailing>> {
        // Every change is one step.
        self.ailing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the servers from time to time.
pub(super) fn watch(monitors: Vec<String>) -> (Arc<Health>, impl Future<Output = ()> + Send) {
    let health = Arc::new(Health::default());
    let noting = Arc::clone(&health);
    let watching = async move {
        let agent = agent(false);
        while !monitors.is_empty() {
            tokio::time::sleep(LOOK).await;
            for monitor in &monitors {
                let (agent, address) = (agent.clone(), monitor.clone());
                let looked = tokio::task::spawn_blocking(move || look(&agent, &address)).await;
                if let Ok(what) = looked {
                    noting.note(monitor, what);
                }
            }
        }
    };
    (health, watching)
}

/// What is wrong with a server; `None`: nothing.
fn look(agent: &ureq::Agent, monitor: &str) -> Option<String> {
    let address = format!("{}/healthz", monitor.trim_end_matches('/'));
    let mut answer = match agent.get(&address).call() {
        Ok(answer) => answer,
        Err(error) => return Some(format!("it does not answer: {error}")),
    };
    if answer.status().is_success() {
        return None;
    }
    let text = answer.body_mut().read_to_string().unwrap_or_default();
    let said: Healthz = serde_json::from_str(&text).unwrap_or_default();
    Some(match said.error {
        error if error.is_empty() => answer.status().to_string(),
        error => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_looks_see_is_said_until_one_sees_it_no_more() {
        let health = Health::default();
        health.note("http://a", Some("it starts".into()));
        health.note("http://b", Some("it starts".into()));
        assert_eq!(health.alarms(), Vec::<String>::new());
        health.note("http://a", None);
        health.note("http://b", Some("no space left on device".into()));
        let alarms = health.alarms();
        assert_eq!(alarms.len(), 1);
        assert!(alarms[0].contains("http://b is not well: no space left"));
        health.note("http://b", None);
        assert_eq!(health.alarms(), Vec::<String>::new());
    }
}
