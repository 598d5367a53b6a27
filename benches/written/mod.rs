//! A ledger of so many bulletins in a directory, written as a broker writes it.

use std::sync::Arc;

use data_encoding::BASE64;
use entente::broker::{Answer, Config, Log, Reply, Request, execute, init, open_log};
use entente::bulletin::{Draft, MAX_BURST, VerifiedBursts, open, seal};
use entente::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use entente::identity::{Home, new_secret_key, read_secret_key, write_secret_key};
use entente::ledger::{Operator, PartnerAdmitted, Proposal};
use entente::proof::{PayloadType, Signer};
use entente::testing::Scratch;

/// What a short bulletin says: one address.
pub(crate) const SHORT: &str = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype \
                     = \"ip\"\nvalue = \"192.0.2.1\"\n";

/// A ledger, and what it was written with.
pub(crate) struct Written {
    pub(crate) scratch: Scratch,
    pub(crate) config: Config,
    pub(crate) log: Log,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

/// Writes a ledger of so many records: a genesis, a partner, and bulletins that say this.
pub(crate) async fn write(records: u64, says: &str) -> Written {
    let scratch = Scratch::new().expect("a directory");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
    let partner = "norland.example".parse().expect("a partner");
    let home = Home::create(
        &scratch.path().join("home"),
        &partner,
        clock.now(),
        entropy.as_ref(),
    );
    let home = home.expect("a partner");
    let operator = new_secret_key(entropy.as_ref()).expect("a key");
    let log_key = scratch.path().join("log.key");
    write_secret_key(&log_key, &new_secret_key(entropy.as_ref()).expect("a key")).expect("a file");
    let file = scratch.path().join("broker.toml");
    let text = "spiffe_id = \"spiffe://alliance.example/broker/1\"\nlisten = \
                \"127.0.0.1:0\"\nledger = \"ledger\"\nhead = \"head\"\ncontrol = \"c\"\nlog_key = \
                \"log.key\"\n[tls]\ncertificate = \"x\"\nkey = \"x\"\n";
    std::fs::write(&file, text).expect("a file");
    let config = Config::load(&file).expect("a configuration");
    let operators = vec![Operator {
        name: "anna".into(),
        public_key: operator.public_key(),
    }];
    let ledger = init(
        &config,
        "alliance.example",
        operators,
        clock.as_ref(),
        Arc::clone(&entropy),
    );
    let ledger = ledger.expect("a ledger");
    let log = open_log(&config, Arc::clone(&clock), Arc::clone(&entropy)).expect("a log");
    let key_set = home.key_set().expect("a key set");
    let payload = PartnerAdmitted::payload(ledger, &key_set);
    let signature = operator
        .sign(PayloadType::Admission, &payload)
        .expect("signed");
    let admit = Request::Admit {
        key_set: BASE64.encode(&key_set.to_bytes()),
        operator: "anna".into(),
        key: signature.key_id.to_string(),
        signature: BASE64.encode(&signature.bytes),
    };
    assert!(matches!(
        execute(&log, clock.as_ref(), vec![], admit).await,
        Reply::Recorded(1)
    ));
    let signing = read_secret_key(&home.signing_key()).expect("a key");
    let draft = Draft::from_toml(says).expect("a bulletin");
    let mut bursts = VerifiedBursts::new(4);
    while log.size() < records {
        let now = clock.now();
        let left = usize::try_from(records - log.size()).expect("few");
        let burst: Vec<_> = (0..left.min(MAX_BURST as usize))
            .map(|_| {
                draft
                    .clone()
                    .into_unsealed(&partner, now, entropy.as_ref())
                    .expect("valid")
            })
            .collect();
        let mut waiting = Vec::new();
        for sealed in seal(burst, &signing, entropy.as_ref()).expect("sealed") {
            let submission = {
                let state = log.state();
                open(sealed, now, state.registry(), &mut bursts)
                    .and_then(|verified| verified.into_submission(&partner, now))
                    .expect("verified")
            };
            let log = log.clone();
            waiting.push(tokio::spawn(async move {
                log.propose(Proposal::Bulletin(Box::new(submission))).await
            }));
        }
        for answer in waiting {
            let answer = answer.await.expect("a task").expect("an answer");
            assert!(matches!(answer, Answer::Recorded { .. }));
        }
    }
    Written {
        scratch,
        config,
        log,
        clock,
        entropy,
    }
}
