//! What a run of a workload gives.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::error::BenchError;

/// The figures of one run of one system, as far as the workload has them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// `W1` to `W8`.
    pub workload: String,
    /// Whose figures: `entente`, `jetstream-synced`, `jetstream`, and what else was varied.
    pub system: String,
    /// Bulletins, records, handshakes or decisions in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<f64>,
    /// Processor time of the server process for each bulletin, user and system together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us_per_bulletin: Option<f64>,
    /// Median latency, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
    /// 99 of 100 are within it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
    /// 999 of 1,000 are within it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p999_us: Option<f64>,
    /// The longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_us: Option<f64>,
    /// The most memory that the server process held, KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_kib: Option<u64>,
    /// What only this workload has, by name.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Figures {
    /// None yet.
    pub fn of(workload: &str, system: &str) -> Self {
        Self {
            workload: workload.to_owned(),
            system: system.to_owned(),
            ..Self::default()
        }
    }

    /// Adds a figure that only this workload has.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Takes the latencies in.
    #[must_use]
    pub fn latency(mut self, latency: &Latency) -> Self {
        if latency.count > 0 {
            self.p50_us = Some(latency.p50);
            self.p99_us = Some(latency.p99);
            self.p999_us = Some(latency.p999);
            self.max_us = Some(latency.max);
        }
        self
    }

    /// A figure of `more`, where it is a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.more.get(name).and_then(serde_json::Value::as_f64)
    }
}

/// Latencies in microseconds, read off a histogram.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 99 of 100 are within it.
    pub p99: f64,
    /// 999 of 1,000 are within it.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// Collects latencies, to three digits up to a minute.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Result<Self, BenchError> {
        let histogram = Histogram::new_with_bounds(1, 60_000_000, 3);
        histogram.map(Self).map_err(BenchError::worker)
    }

    /// Adds one.
    pub(super) fn record(&mut self, micros: u64) {
        self.0.saturating_record(micros.max(1));
    }

    #[expect(clippy::cast_precision_loss, reason = "microseconds of a minute")]
    pub(super) fn read(&self) -> Latency {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64;
        Latency {
            count: self.0.len(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max() as f64,
        }
    }
}
