//! How a broker reaches the stream.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::wire::FORMAT;

/// `[stream]` in `broker.toml`. Paths are relative to the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamConfig {
    /// The stream's name, and the beginning of the names of its buckets: letters, digits and dashes. Brokers of
    /// one ledger have the same.
    #[serde(default = "default_name")]
    pub name: String,
    /// Servers that hold a copy each; default 3. Fewer are for tests: acknowledged then means less.
    #[serde(default = "default_replicas")]
    pub replicas: usize,
    /// Directory of this broker's own copy, which can be deleted while it does not run; default `cache`.
    #[serde(default = "default_cache")]
    pub cache: PathBuf,
    /// The root certificate of the servers' authority, in PEM. Absent: no TLS, for tests on one machine.
    #[serde(default)]
    pub roots: Option<PathBuf>,
    /// This broker's client certificate in PEM.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its private key in PEM, mode 0600.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// A file of NATS credentials (JWT and seed), mode 0600.
    #[serde(default)]
    pub credentials: Option<PathBuf>,
    /// The servers' monitoring addresses (`http://10.0.0.1:8222`): asked whether each syncs before it
    /// acknowledges. Absent: nobody tells, and a warning says so.
    #[serde(default)]
    pub monitors: Vec<String>,
    /// Seconds for which a broker that confirmed the end of the log may deliver, 2 to 60; default 5. The end
    /// of an agreement is confirmed after so long.
    #[serde(default = "default_lease")]
    pub lease_seconds: u64,
    /// The newest format of messages that this broker reads; not in the file, because the program knows.
    #[serde(skip, default = "default_format")]
    pub format: u32,
    /// Bytes of this broker's own disk that are kept free, where not as usual: the configuration's `disk_reserve`.
    #[serde(skip)]
    pub disk_reserve: Option<u64>,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            name: default_name(),
            replicas: default_replicas(),
            cache: default_cache(),
            roots: None,
            certificate: None,
            key: None,
            credentials: None,
            monitors: Vec::new(),
            lease_seconds: default_lease(),
            format: default_format(),
            disk_reserve: None,
        }
    }
}

impl StreamConfig {
    /// What is wrong with it, for people.
    pub fn check(&self) -> Result<(), String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(fits) {
            return Err(
                "stream.name: up to 64 letters, digits and dashes, such as alliance".to_owned(),
            );
        }
        if !(1..=5).contains(&self.replicas) {
            return Err("stream.replicas: from 1 to 5; 3 where it matters".to_owned());
        }
        if !(2..=60).contains(&self.lease_seconds) {
            return Err("stream.lease_seconds: from 2 to 60 seconds".to_owned());
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Err("stream: `certificate` and `key` go together".to_owned());
        }
        if self.certificate.is_some() && self.roots.is_none() {
            return Err(
                "stream: a certificate without `roots` would be used without TLS".to_owned(),
            );
        }
        Ok(())
    }

    /// Makes its paths relative to a directory.
    pub fn within(&mut self, base: &Path) {
        self.cache = base.join(&self.cache);
        let all = [
            &mut self.roots,
            &mut self.certificate,
            &mut self.key,
            &mut self.credentials,
        ];
        for path in all.into_iter().flatten() {
            *path = base.join(&*path);
        }
    }
}

fn default_name() -> String {
    "entente".to_owned()
}

const fn default_replicas() -> usize {
    3
}

fn default_cache() -> PathBuf {
    "cache".into()
}

const fn default_lease() -> u64 {
    5
}

const fn default_format() -> u32 {
    FORMAT
}

/// Whether a ledger's place is a stream: `nats://10.0.0.1:4222,10.0.0.2:4222`.
pub fn is_stream(place: &Path) -> bool {
    let place = place.to_string_lossy();
    place.starts_with("nats://") || place.starts_with("tls://")
}
