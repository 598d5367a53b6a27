//! Builds a deployment with the same procedures as the commands.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;

use super::error::DeploymentError;
use super::layout::{Layout, OPERATOR};
use super::plan::{AgreementPlan, Plan};
use super::port::free_ports;
use crate::agreement::{SignedAgreement, parse_draft};
use crate::broker::{self, Reply, Request, execute, open_log};
use crate::clock::{Clock, Entropy, Timestamp};
use crate::identity::{
    Home, LEAF_VALIDITY, new_secret_key, read_secret_key, write_public, write_secret_key,
};
use crate::ledger::{LedgerId, Operator, PartnerAdmitted};
use crate::node;
use crate::partner::{PartnerId, SpiffeId};
use crate::proof::{PayloadType, Signer};

/// How long the agreements of a built deployment are valid.
const AGREEMENT_VALIDITY: Duration = Duration::from_hours(8760);

/// Builds everything into a new directory; the broker need only be started. Returns the paths and
/// the ledger's id.
pub async fn build(
    root: &Path,
    plan: &Plan,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<(Layout, LedgerId), DeploymentError> {
    let occupied = std::fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        return Err(DeploymentError::NotEmpty(root.to_owned()));
    }
    let layout = Layout::at(root);
    let builder = Builder {
        layout: &layout,
        plan,
        clock,
        entropy,
    };
    let (broker, ledger) = builder.broker()?;
    let mut brokers = vec![(broker.listen, broker.spiffe_id.clone())];
    for number in plan.brokers().skip(1) {
        let other = builder.broker_config(number)?;
        brokers.push((other.listen, other.spiffe_id));
    }
    for partner in &plan.partners {
        builder.partner(partner, &brokers)?;
    }
    builder.record(&broker, ledger).await?;
    Ok((layout, ledger))
}

struct Builder<'a> {
    layout: &'a Layout,
    plan: &'a Plan,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Builder<'_> {
    fn home(&self, partner: &PartnerId, program: &str) -> Result<Home, DeploymentError> {
        let (now, entropy) = (self.clock.now(), self.entropy.as_ref());
        let home = self.layout.root().join("certs").join(partner.as_str());
        let home = Home::create(&home, partner, now, entropy)?;
        let id = SpiffeId::new(partner, program)?;
        home.issue(&id, now, LEAF_VALIDITY, entropy)?;
        Ok(home)
    }

    /// The broker's keys, configuration and empty ledger.
    fn broker(&self) -> Result<(broker::Config, LedgerId), DeploymentError> {
        let framework = &self.plan.framework;
        self.home(framework, "/broker/1")?;
        let entropy = self.entropy.as_ref();
        let operator = new_secret_key(entropy)?;
        write_secret_key(&self.layout.operator_key(), &operator)?;
        write_secret_key(&self.layout.log_key(), &new_secret_key(entropy)?)?;
        let config = self.broker_config(1)?;
        let operators = vec![Operator {
            name: OPERATOR.to_owned(),
            public_key: operator.public_key(),
        }];
        let (name, entropy) = (framework.as_str(), Arc::clone(&self.entropy));
        let ledger = broker::init(&config, name, operators, self.clock.as_ref(), entropy)?;
        Ok((config, ledger))
    }

    /// The configuration of one of the brokers, which have one key of the log.
    fn broker_config(&self, number: usize) -> Result<broker::Config, DeploymentError> {
        let framework = &self.plan.framework;
        let (now, entropy) = (self.clock.now(), self.entropy.as_ref());
        let id = Layout::broker_id_at(framework, number)?;
        if number > 1 {
            let home = self.layout.home(framework);
            home.issue(&id, now, LEAF_VALIDITY, entropy)?;
        }
        let (listen, http) = free_ports(self.plan.address, entropy)?;
        let kex = kex(self.plan);
        let (mut ledger, mut stream) = ("ledger".to_owned(), String::new());
        if let Some(shared) = &self.plan.shared {
            if let Some(servers) = shared.servers.get(number - 1) {
                ledger.clone_from(servers);
            }
            stream = format!(
                "\n[stream]\nname = \"{}\"\nreplicas = {}\nlease_seconds = {}\n{}",
                shared.name, shared.replicas, shared.lease_seconds, shared.more
            );
        }
        let text = format!(
            "# The broker. Every key is described in the README.\n\
             spiffe_id = \"{id}\"\n\
             listen = \"{listen}\"\n\
             ledger = \"{ledger}\"\n\
             head = \"head\"\n\
             control = \"control.sock\"\n\
             log_key = \"{}\"\n\n\
             [tls]\n\
             certificate = \"../certs/{framework}/broker-{number}.pem\"\n\
             key = \"../certs/{framework}/broker-{number}.key\"\n{kex}\n\
             [http]\n\
             listen = \"{http}\"\n{stream}",
            if number == 1 {
                "log.key"
            } else {
                "../broker/log.key"
            },
        );
        let path = self.layout.broker_config_at(number);
        write_public(&path, text.as_bytes())?;
        Ok(broker::Config::load(&path)?)
    }

    /// A partner's authority, keys and node.
    fn partner(
        &self,
        partner: &PartnerId,
        brokers: &[(SocketAddr, SpiffeId)],
    ) -> Result<(), DeploymentError> {
        let mut others = String::new();
        for (address, id) in brokers.iter().skip(1) {
            let _ = write!(
                others,
                "\n[[other_broker]]\naddress = \"{address}\"\nid = \"{id}\"\n"
            );
        }
        let first = brokers.first().map(|(address, _)| address.to_string());
        let broker = first.unwrap_or_default();
        self.home(partner, "/node/1")?;
        let framework = &self.plan.framework;
        let kex = kex(self.plan);
        let text = format!(
            "# A partner's node. Every key is described in the README.\n\
             spiffe_id = \"{}\"\n\
             broker = \"{broker}\"\n\
             broker_id = \"{}\"\n\
             broker_roots = \"../../certs/{framework}/ca.pem\"\n\
             store = \"store\"\n\
             control = \"control.sock\"\n\
             signing_key = \"../../certs/{partner}/signing.key\"\n\
             key_set = \"../../certs/{partner}/key-set.pem\"\n\n\
             [tls]\n\
             certificate = \"../../certs/{partner}/node-1.pem\"\n\
             key = \"../../certs/{partner}/node-1.key\"\n{kex}{others}",
            Layout::node_id(partner)?,
            Layout::broker_id(framework)?,
        );
        let path = self.layout.node_config(partner);
        write_public(&path, text.as_bytes())?;
        // What was written is what nodes read.
        node::Config::load(&path).map_err(|error| DeploymentError::Refused(error.to_string()))?;
        Ok(())
    }

    /// Admits the partners and puts the agreements in force.
    async fn record(
        &self,
        config: &broker::Config,
        ledger: LedgerId,
    ) -> Result<(), DeploymentError> {
        let log = open_log(config, Arc::clone(&self.clock), Arc::clone(&self.entropy))?;
        let mut acts = Vec::new();
        let operator = read_secret_key(&self.layout.operator_key())?;
        for partner in &self.plan.partners {
            let key_set = self.layout.home(partner).key_set()?;
            let payload = PartnerAdmitted::payload(ledger, &key_set);
            let signature = operator.sign(PayloadType::Admission, &payload)?;
            acts.push(Request::Admit {
                key_set: BASE64.encode(&key_set.to_bytes()),
                operator: OPERATOR.to_owned(),
                key: signature.key_id.to_string(),
                signature: BASE64.encode(&signature.bytes),
            });
        }
        for agreement in &self.plan.agreements {
            let signed = ratified(self.layout, ledger, agreement, self.clock.now())?;
            acts.push(Request::Ratify {
                agreement: BASE64.encode(&signed.to_file()),
            });
        }
        for act in acts {
            match execute(&log, self.clock.as_ref(), Vec::new(), act).await {
                Reply::Recorded(_) => {}
                Reply::Error(trouble) => return Err(DeploymentError::Refused(trouble.message)),
                _ => {
                    return Err(DeploymentError::Refused(
                        "an answer to something else".into(),
                    ));
                }
            }
        }
        log.close(&read_secret_key(&config.log_key)?, self.clock.now())?;
        Ok(())
    }
}

/// Writes an agreement's text, has every party sign it, and writes the result.
pub fn ratified(
    layout: &Layout,
    ledger: LedgerId,
    plan: &AgreementPlan,
    now: Timestamp,
) -> Result<SignedAgreement, DeploymentError> {
    let mut text = format!(
        "name = \"{}\"\ntitle = \"{}\"\nversion = 1\nledger = \"{ledger}\"\n\
         valid_from = \"{now}\"\nvalid_until = \"{}\"\n\n[parties]\n",
        plan.name,
        plan.title,
        now.saturating_add(AGREEMENT_VALIDITY),
    );
    for party in &plan.parties {
        let key_set = layout.home(party).key_set()?;
        let _ = writeln!(text, "\"{party}\" = \"{}\"", key_set.hash());
    }
    text.push_str(&plan.clauses);
    let path = layout.agreements().join(format!("{}.toml", plan.name));
    write_public(&path, text.as_bytes())?;
    let terms = parse_draft(&text).map_err(|error| DeploymentError::Draft {
        name: plan.name.clone(),
        error,
    })?;
    let mut signed = SignedAgreement::unsigned(&terms)?;
    for party in &plan.parties {
        let key = read_secret_key(&layout.home(party).agreements_key())?;
        signed.ratify(party, &key)?;
    }
    write_public(&layout.agreement(&plan.name), &signed.to_file())?;
    Ok(signed)
}

fn kex(plan: &Plan) -> String {
    use crate::transport::Kex;
    match plan.kex {
        Kex::Hybrid => String::new(),
        Kex::HybridRequired => "kex = \"hybrid-required\"\n".into(),
        Kex::Classical => "kex = \"classical\"\n".into(),
    }
}
