//! The node's configuration file.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use super::error::NodeError;
use super::federation::check_federations;
use super::hook::{ExecConfig, WebhookConfig, check_programs, check_webhooks, is_guarded};
use crate::agreement::Purpose;
use crate::bulletin::{Kind, Precedence, Region, Tlp, Topic};
use crate::partner::{PartnerId, SpiffeId};
use crate::proof::Digest;
use crate::transport::{HttpLimits, Kex};

/// `node.toml`. Paths are relative to the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This node's SPIFFE ID, as in its certificate: `spiffe://norland.example/node/1`.
    pub spiffe_id: SpiffeId,
    /// The broker's UDP address: `broker.alliance.example:7400`.
    pub broker: String,
    /// The broker's SPIFFE ID; no other is believed.
    pub broker_id: SpiffeId,
    /// Other brokers of the same ledger, for when this one does not answer or is further away.
    #[serde(default)]
    pub other_broker: Vec<BrokerConfig>,
    /// The root certificate of the broker's authority, in PEM.
    pub broker_roots: PathBuf,
    /// The revocation list of the broker's authority, in PEM; read for each connection. One that has
    /// expired refuses the broker. Absent: none is checked.
    #[serde(default)]
    pub broker_revocations: Option<PathBuf>,
    /// The ledger's id; absent: the first one met is kept.
    #[serde(default)]
    pub ledger: Option<Digest>,
    /// Directory of outbox and inbox.
    pub store: PathBuf,
    /// Unix socket for this machine's applications.
    pub control: PathBuf,
    /// Private key that signs bulletins and acknowledgements, mode 0600.
    pub signing_key: PathBuf,
    /// The secret behind this partner's pseudonyms, mode 0600; made when it is first needed. Absent:
    /// `pseudonyms.key` beside the signing key.
    #[serde(default)]
    pub pseudonyms: Option<PathBuf>,
    /// This partner's own key set.
    pub key_set: PathBuf,
    /// Seconds beyond the broker's promised delay after which a missing receipt is an alarm; default 60.
    #[serde(default = "default_receipts_within")]
    pub receipts_within: u64,
    /// Who must have cosigned a checkpoint before it is believed (C2SP tlog-policy); this node's own
    /// witness must in any case. Absent: nobody else.
    #[serde(default)]
    pub witness_policy: Option<PathBuf>,
    /// This node's witness for logs that it is not connected to; absent: it answers its broker only.
    #[serde(default)]
    pub witness: Option<WitnessConfig>,
    /// Certificate and key exchange.
    pub tls: TlsConfig,
    /// Where received bulletins are posted.
    #[serde(default)]
    pub webhook: Vec<WebhookConfig>,
    /// Programs that are run for what is urgent.
    #[serde(default)]
    pub exec: Vec<ExecConfig>,
    /// The TAXII 2.1 server; absent: there is none.
    #[serde(default)]
    pub taxii: Option<TaxiiConfig>,
    /// TAXII servers whose collections are published here.
    #[serde(default)]
    pub poll: Vec<PollConfig>,
    /// Other ledgers from which bulletins are carried here.
    #[serde(default)]
    pub federation: Vec<FederationConfig>,
}

/// `[[federation]]`: what this partner compared itself of another ledger. What is not here is believed of
/// nobody but whoever carried it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederationConfig {
    /// The other ledger's id, compared out of band.
    pub ledger: Digest,
    /// Its framework's name, for people.
    pub framework: String,
    /// Key sets of its partners, compared out of band: all versions of each, from the first on.
    #[serde(default)]
    pub key_sets: Vec<PathBuf>,
    /// The verifier key of its log: receipts that come along are verified.
    #[serde(default)]
    pub log_key: Option<String>,
    /// Instead of `log_key`: its log, its witnesses and the quorum that is asked for (C2SP tlog-policy).
    #[serde(default)]
    pub policy: Option<PathBuf>,
}

/// `[[other_broker]]`: its authority is the one of `broker_roots`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerConfig {
    /// Its UDP address: `broker-2.alliance.example:7400`.
    pub address: String,
    /// Its SPIFFE ID.
    pub id: SpiffeId,
}

/// `[tls]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate in PEM. Replaced on disk, it is used for the next connection.
    pub certificate: PathBuf,
    /// Its private key in PEM, mode 0600.
    pub key: PathBuf,
    /// `hybrid` (default), `hybrid-required` or `classical`.
    #[serde(default)]
    pub kex: Kex,
}

/// `[witness]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// Where logs ask over HTTP for cosignatures (C2SP tlog-witness): `127.0.0.1:7402`.
    pub listen: SocketAddr,
    /// Whether others than this machine may ask; otherwise `listen` has to be a loopback address, such
    /// as for a proxy in front of it.
    #[serde(default)]
    pub public: bool,
    /// A C2SP tlog-policy whose `log` lines name the logs that are witnessed besides the broker's own;
    /// absent: none.
    #[serde(default)]
    pub logs: Option<PathBuf>,
    /// What those who ask may use.
    #[serde(default)]
    pub limits: HttpLimits,
}

/// `[taxii]`: a TAXII 2.1 server over what this node received, and to publish through.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaxiiConfig {
    /// Where it listens: `127.0.0.1:7403`. Another address than a loopback one needs `certificate` and
    /// `key`.
    pub listen: SocketAddr,
    /// The server's certificate in PEM, from an authority that its clients know.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its private key in PEM, mode 0600.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// The server's title, for people.
    #[serde(default = "default_title")]
    pub title: String,
    /// Entries on a page at most; default 100.
    #[serde(default = "default_page")]
    pub page: u16,
    /// What clients may use of the listener.
    #[serde(default)]
    pub limits: HttpLimits,
    /// Who may ask.
    #[serde(default)]
    pub client: Vec<TaxiiClientConfig>,
    /// The collections through which they publish.
    #[serde(default)]
    pub publish: Vec<PublishConfig>,
}

/// `[[taxii.client]]`: a credential, and what it may see and do. What is not said here, it may not.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaxiiClientConfig {
    /// Its name; with a password, the user's name in HTTP Basic, too.
    pub name: String,
    /// A file, mode 0600, of the hash that `entente taxii password` or `entente taxii token` wrote.
    #[serde(default)]
    pub secret: Option<PathBuf>,
    /// SHA-256 of its client certificate in hexadecimal digits, instead of a secret.
    #[serde(default)]
    pub certificate: Option<String>,
    /// What it reads: `agreement:NAME`, `originator:PARTNER`, or `*` for all that is received.
    #[serde(default)]
    pub read: Vec<String>,
    /// The collections through which it publishes, by their names.
    #[serde(default)]
    pub write: Vec<String>,
    /// The strictest TLP of which it sees anything.
    pub tlp: Tlp,
    /// What it uses bulletins for: without it, it sees nothing that is bound to a purpose.
    #[serde(default)]
    pub purpose: Option<Purpose>,
    /// Whether it sees what is not real. Tools do not tell exercises from the rest.
    #[serde(default)]
    pub exercise: bool,
}

/// `[[taxii.publish]]`: a collection through which STIX objects become bulletins.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishConfig {
    /// The collection's name.
    pub name: String,
    /// The bulletins' labels.
    pub labels: LabelsConfig,
}

/// `[taxii.publish.labels]`, `[poll.labels]`: what STIX has no room for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelsConfig {
    /// `cyber`, `counterterrorism`.
    pub kinds: Vec<Kind>,
    /// Topics.
    pub topics: Vec<Topic>,
    /// Regions.
    #[serde(default)]
    pub regions: Vec<Region>,
    /// The least TLP; an object that is marked stricter keeps its own.
    pub tlp: Tlp,
    /// How urgent; default `ROUTINE`.
    #[serde(default = "routine")]
    pub precedence: Precedence,
    /// To whom it is releasable; none: no restriction beyond the agreements.
    #[serde(default)]
    pub releasable_to: Vec<PartnerId>,
    /// Nothing of it is real.
    #[serde(default)]
    pub exercise: bool,
}

/// `[[poll]]`: a collection of another TAXII 2.1 server, whose objects are published here as they come.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollConfig {
    /// Names how far it has come: keep it, and nothing is published twice.
    pub name: String,
    /// The collection: `https://taxii.example/api1/collections/ID/`. Without TLS from this machine only.
    pub url: String,
    /// Seconds between two looks; default 300.
    #[serde(default = "default_every")]
    pub every: u32,
    /// A file, mode 0600, with one line: `basic USER:PASSWORD` or `bearer TOKEN`. Absent: none is shown.
    #[serde(default)]
    pub secret: Option<PathBuf>,
    /// The root certificates of the server's authority in PEM; absent: those that browsers trust.
    #[serde(default)]
    pub roots: Option<PathBuf>,
    /// The bulletins' labels.
    pub labels: LabelsConfig,
}

const fn default_every() -> u32 {
    300
}

const fn routine() -> Precedence {
    Precedence::Routine
}

fn default_title() -> String {
    "Entente".to_owned()
}

const fn default_page() -> u16 {
    100
}

const fn default_receipts_within() -> u64 {
    60
}

impl Config {
    /// Reads a configuration file; a mistake in it is an error with the line.
    pub fn load(path: &Path) -> Result<Self, NodeError> {
        let text = std::fs::read_to_string(path).map_err(|error| NodeError::File {
            path: path.to_owned(),
            error,
        })?;
        let mut config: Self = toml::from_str(&text).map_err(|error| NodeError::Config {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        let witness = config.witness.as_ref();
        if witness.is_some_and(|witness| !witness.public && !witness.listen.ip().is_loopback()) {
            return Err(NodeError::Config {
                path: path.to_owned(),
                message: "witness.listen: the witness answers this machine only, such as on \
                          127.0.0.1:7402, unless `public = true` stands beside it"
                    .to_owned(),
            });
        }
        let doors = config.taxii.as_ref().map_or(Ok(()), TaxiiConfig::check);
        let doors = doors.and_then(|()| check_polls(&config.poll));
        let doors = doors.and_then(|()| check_webhooks(&config.webhook));
        let doors = doors.and_then(|()| check_programs(&config.exec));
        let doors = doors.and_then(|()| check_federations(&config.federation));
        doors.map_err(|message| NodeError::Config {
            path: path.to_owned(),
            message,
        })?;
        let base = path.parent().unwrap_or_else(|| Path::new("."));
        let optional = config.broker_revocations.iter_mut();
        let optional = optional.chain(config.pseudonyms.iter_mut());
        let witness = config.witness.iter_mut();
        let optional = optional.chain(witness.filter_map(|witness| witness.logs.as_mut()));
        let taxii = config.taxii.iter_mut();
        let taxii = taxii.flat_map(|taxii| {
            let secrets = taxii.client.iter_mut();
            let secrets = secrets.filter_map(|client| client.secret.as_mut());
            secrets.chain(&mut taxii.certificate).chain(&mut taxii.key)
        });
        let polls = config.poll.iter_mut();
        let polls = polls.flat_map(|poll| poll.secret.iter_mut().chain(&mut poll.roots));
        let hooks = config.webhook.iter_mut();
        let hooks = hooks.flat_map(|hook| hook.secret.iter_mut().chain(&mut hook.roots));
        let federations = config.federation.iter_mut();
        let federations =
            federations.flat_map(|one| one.key_sets.iter_mut().chain(&mut one.policy));
        let optional = optional
            .chain(taxii)
            .chain(polls)
            .chain(hooks)
            .chain(federations);
        for relative in optional.chain(config.witness_policy.iter_mut()).chain([
            &mut config.broker_roots,
            &mut config.store,
            &mut config.control,
            &mut config.signing_key,
            &mut config.key_set,
            &mut config.tls.certificate,
            &mut config.tls.key,
        ]) {
            *relative = base.join(&*relative);
        }
        Ok(config)
    }
}

impl TaxiiConfig {
    /// What is wrong with it, in words.
    fn check(&self) -> Result<(), String> {
        if self.certificate.is_some() != self.key.is_some() {
            return Err("taxii: `certificate` and `key` go together".to_owned());
        }
        if self.certificate.is_none() && !self.listen.ip().is_loopback() {
            return Err(
                "taxii.listen: without TLS the server answers this machine only, such as on \
                 127.0.0.1:7403; for others give it a `certificate` and `key`"
                    .to_owned(),
            );
        }
        let mut names = BTreeSet::new();
        for client in &self.client {
            let of = format!("taxii.client `{}`", client.name);
            if client.name.is_empty() || client.name.contains(':') || !names.insert(&client.name) {
                return Err(format!("{of}: each has a name of its own, without a colon"));
            }
            if client.secret.is_some() == client.certificate.is_some() {
                return Err(format!(
                    "{of}: it needs a `secret` or a `certificate`, one of them"
                ));
            }
            if client.certificate.is_some() && self.certificate.is_none() {
                return Err(format!("{of}: client certificates need TLS"));
            }
            let known = |name: &String| self.publish.iter().any(|one| one.name == *name);
            if let Some(name) = client.write.iter().find(|name| !known(name)) {
                return Err(format!(
                    "{of}: there is no [[taxii.publish]] of the name `{name}`"
                ));
            }
            let readable = |name: &&String| {
                let named = name.split_once(':');
                let named = named.filter(|(kind, _)| ["agreement", "originator"].contains(kind));
                *name == "*" || named.is_some_and(|(_, name)| !name.is_empty())
            };
            if let Some(name) = client.read.iter().find(|name| !readable(name)) {
                return Err(format!(
                    "{of}: `{name}` is nothing to read: it is agreement:NAME, originator:PARTNER or *"
                ));
            }
        }
        let mut names = BTreeSet::new();
        for publish in &self.publish {
            if !is_plain(&publish.name) || !names.insert(&publish.name) {
                return Err(format!(
                    "taxii.publish `{}`: each has a name of its own, of 1 to 64 letters, digits, - _ .",
                    publish.name
                ));
            }
        }
        Ok(())
    }
}

/// A name that can stand in keys and logs.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

/// What is wrong with what is polled, in words.
fn check_polls(polls: &[PollConfig]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for poll in polls {
        let of = format!("poll `{}`", poll.name);
        if !is_plain(&poll.name) || !names.insert(&poll.name) {
            return Err(format!(
                "{of}: each has a name of its own, of 1 to 64 letters, digits, - _ ."
            ));
        }
        if poll.every == 0 {
            return Err(format!("{of}: `every` is at least 1 second"));
        }
        let url = Url::parse(&poll.url).map_err(|error| format!("{of}: `url`: {error}"))?;
        let whole = url.path().ends_with('/') && url.query().is_none() && url.username().is_empty();
        if !is_guarded(&url) || !whole {
            return Err(format!(
                "{of}: `url` is a collection such as https://taxii.example/api1/collections/ID/, with its \
                 last slash and without a password; http is for this machine only"
            ));
        }
    }
    Ok(())
}
