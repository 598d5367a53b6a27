//! What monitors see.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The reason of a refusal, by its stable code.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Reason {
    code: String,
}

/// The broker's metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) accepted: Counter,
    pub(super) refusals: Family<Reason, Counter>,
    pub(super) deliveries: Counter,
    pub(super) voids: Counter,
    pub(super) acknowledgements: Counter,
    pub(super) sessions: Gauge,
    pub(super) handshakes_refused: Counter,
    pub(super) disk_full: Counter,
    pub(super) conflicts: Counter,
    pub(super) overdue: Counter,
    pub(super) erased: Counter,
    /// Witnesses that are missing, and forks.
    pub(super) alarms: Gauge,
    pub(super) group_size: Histogram,
    pub(super) append_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            accepted: Counter::default(),
            refusals: Family::default(),
            deliveries: Counter::default(),
            voids: Counter::default(),
            acknowledgements: Counter::default(),
            sessions: Gauge::default(),
            handshakes_refused: Counter::default(),
            disk_full: Counter::default(),
            conflicts: Counter::default(),
            overdue: Counter::default(),
            erased: Counter::default(),
            alarms: Gauge::default(),
            group_size: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            append_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
        }
    }
}

impl Metrics {
    pub(super) fn refused(&self, code: &str) {
        self.refusals
            .get_or_create(&Reason {
                code: code.to_owned(),
            })
            .inc();
    }

    /// Everything under its name.
    pub(super) fn registry(&self) -> Registry {
        let mut all = Registry::with_prefix("entente_broker");
        all.register(
            "bulletins_accepted",
            "Bulletins in the log",
            self.accepted.clone(),
        );
        all.register(
            "refusals",
            "Submissions and acts refused",
            self.refusals.clone(),
        );
        all.register(
            "alarms",
            "What keeps receipts from being witnessed",
            self.alarms.clone(),
        );
        all.register(
            "deliveries",
            "Bulletins sent to recipients",
            self.deliveries.clone(),
        );
        all.register(
            "voids",
            "Deliveries whose permission no longer held",
            self.voids.clone(),
        );
        all.register(
            "acknowledgements",
            "Signed acknowledgements in the log",
            self.acknowledgements.clone(),
        );
        all.register("sessions", "Nodes connected", self.sessions.clone());
        all.register(
            "handshakes_refused",
            "Connections that ended before a session",
            self.handshakes_refused.clone(),
        );
        all.register(
            "disk_full",
            "Groups refused for want of room",
            self.disk_full.clone(),
        );
        all.register(
            "append_conflicts",
            "Groups decided again because another broker was first",
            self.conflicts.clone(),
        );
        all.register(
            "overdue",
            "Bulletins that a recipient did not take in time",
            self.overdue.clone(),
        );
        all.register(
            "contents_erased",
            "Bulletins whose contents were erased",
            self.erased.clone(),
        );
        all.register(
            "group_records",
            "Records in a group",
            self.group_size.clone(),
        );
        all.register(
            "append_seconds",
            "Time to make a group durable",
            self.append_seconds.clone(),
        );
        all
    }
}
