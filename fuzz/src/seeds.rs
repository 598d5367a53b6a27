//! The committed corpus: one small input or a few for each target, written by our own code.

use std::time::Duration;

use bytes::Bytes;
use entente::bulletin::Precedence;
use entente::ledger::{Inherited, Question};
use entente::proof::{TileKind, TilePath, bundle_bytes, tile_bytes};
use entente::session::{
    Delivery, Evidence, Fetch, Fetched, Frame, Hello, KeySetVersions, LaneTail, Limits,
    PROTOCOL_VERSION, Refusal, Statement, WantedRecord, Welcome, encode,
};

use crate::ledger::partner;
use crate::world::{World, world};

/// Every seed: the target, a name, and the input.
pub fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let world = world();
    let mut seeds = Seeds(Vec::new());
    texts(&mut seeds, world);
    stored(&mut seeds, world);
    files(&mut seeds, world);
    for (name, frame) in frames(world) {
        seeds.add("frame", name, encode(&frame));
    }
    seeds.0
}

struct Seeds(Vec<(&'static str, String, Vec<u8>)>);

impl Seeds {
    fn add(&mut self, target: &'static str, name: impl ToString, bytes: impl AsRef<[u8]>) {
        self.0
            .push((target, name.to_string(), bytes.as_ref().to_vec()));
    }
}

fn texts(seeds: &mut Seeds, world: &World) {
    for (at, note) in world.notes.iter().enumerate() {
        seeds.add("note", at, note);
        seeds.add("checkpoint", at, note.split("\n\n").next().unwrap_or(note));
        seeds.add("checkpoint", format!("{at}-signed"), note);
    }
    seeds.add("vkey", "log", world.log.to_string());
    for (name, witness) in world.policy.witnesses() {
        seeds.add("vkey", name, witness.key.to_string());
    }
    for path in [
        "tile/0/000",
        "tile/entries/x001/x234/067.p/8",
        "tile/63/999.p/255",
    ] {
        seeds.add("tile_path", path.replace('/', "-"), path);
    }
    seeds.add("policy", "quorum", world.policy.to_string());
    seeds.add(
        "policy",
        "none",
        format!("# words\n\nlog {}\nquorum none\n", world.log),
    );
    for (at, request) in world.requests.iter().enumerate() {
        seeds.add("witness", at, request.to_string());
    }
    seeds.add("fork", "two-sizes", world.fork.to_string());
}

fn stored(seeds: &mut Seeds, world: &World) {
    let entries = world.entries.iter().take(3).map(<[u8; 33]>::as_slice);
    let bundle = bundle_bytes(entries).expect("short entries");
    seeds.add("bundle", "entries", [&[2], bundle.as_slice()].concat());
    let hashes: Vec<_> = world.heads.iter().map(|head| head.root).collect();
    seeds.add(
        "bundle",
        "hashes",
        [&[2], tile_bytes(&hashes).as_slice()].concat(),
    );
    for (at, receipt) in world.receipts.iter().enumerate() {
        seeds.add("receipt", at, receipt.to_string());
        seeds.add("opening", at, receipt.opening.to_bytes());
    }
    for (at, record) in world.records.iter().enumerate() {
        seeds.add("record", at, record);
    }
    for (at, sealed) in world.sealed.iter().enumerate() {
        seeds.add("envelope", at, sealed.to_bytes());
    }
    seeds.add("snapshot", "whole", &world.snapshot);
}

fn files(seeds: &mut Seeds, world: &World) {
    seeds.add("agreement_draft", "clause", &world.draft);
    seeds.add("agreement", "signed", world.agreement.to_file());
    seeds.add("agreement", "terms", world.agreement.bytes());
    seeds.add("agreement", "withdrawal", world.withdrawal.to_file());
    for (at, key_set) in world.key_sets.iter().enumerate() {
        seeds.add("key_set", at, key_set.to_bytes());
    }
    seeds.add("statement", "promise", &world.promise.bytes);
    seeds.add("statement", "ack", &world.ack.bytes);
    seeds.add(
        "draft",
        "parts",
        "kinds = [\"cyber\"]\ntopics = [\"cyber/malware\"]\nregions = [\"DE\"]\ntlp = \"TLP:GREEN\"\nprecedence = \
         \"FLASH\"\nreleasable_to = [\"estmark.example\"]\ncaveats = [\"ORCON\"]\nreliability = \"B\"\n\
         [[part]]\ntype = \"ip\"\nvalue = \"198.51.100.7\"\n[[part]]\ntype = \"narrative\"\ntext = \"words\"\n\
         tlp = \"TLP:AMBER\"\n[[part]]\ntype = \"url\"\nvalue = \"https://a.example/b\"\n",
    );
    seeds.add(
        "pattern",
        "choice",
        "[domain-name:value = 'a.example' OR file:hashes.'SHA-256' = 'aa' OR url:value = 'http://it\\'s.test/']",
    );
    seeds.add(
        "pattern",
        "sequence",
        "([a:b[*].c NOT IN (1, -2.5)] FOLLOWEDBY [EXISTS a:d] WITHIN 5 SECONDS) START t'2026-01-01T00:00:00Z' \
         STOP t'2026-01-02T00:00:00Z' /* end */",
    );
    seeds.add("misp", "event", EVENT);
    seeds.add("cap", "alert", ALERT);
    seeds.add("cap", "label", LABEL);
    seeds.add("list", "plain", PLAIN);
    seeds.add("list", "warninglist", WARNINGLIST);
    seeds.add("stix", "bundle", STIX);
    seeds.add("stix", "object", OBJECT);
}

/// A seed of `misp`.
const EVENT: &str = r##"{"Event":{"uuid":"b2f4c1de-0a11-4d0e-9d5a-3a1c0f6f7a10","info":"A campaign","date":"2026-01-15","distribution":"3","Tag":[{"name":"tlp:amber"}],"Attribute":[{"type":"domain","value":"c2.example","to_ids":true,"Sighting":[{"type":"0","date_sighting":"1768435200"}]}],"Object":[{"name":"file","Attribute":[{"type":"sha1","object_relation":"sha1","value":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}]}]}}"##;

/// A seed of `cap`.
const ALERT: &str = r##"<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2"><identifier>a-1</identifier><sender>s</sender><sent>2026-11-23T12:00:00-00:00</sent><status>Actual</status><msgType>Alert</msgType><scope>Public</scope><info><category>Security</category><event>e</event><urgency>Immediate</urgency><severity>Severe</severity><certainty>Likely</certainty><area><areaDesc>market</areaDesc><circle>59.4,24.7 1</circle></area></info></alert>"##;

/// A seed of `cap`.
const LABEL: &str = r##"<s:originatorConfidentialityLabel xmlns:s="urn:nato:stanag:4774:confidentialitymetadatalabel:1:0"><s:ConfidentialityInformation><s:PolicyIdentifier>NATO</s:PolicyIdentifier><s:Classification>SECRET</s:Classification><s:Category TagName="Releasable To" Type="PERMISSIVE"><s:GenericValue>EST</s:GenericValue></s:Category></s:ConfidentialityInformation><s:CreationDateTime>2026-01-15T00:00:00Z</s:CreationDateTime></s:originatorConfidentialityLabel>"##;

/// A seed of `list`.
const PLAIN: &str = r##"# a list
198.51.100.7
203.0.113.0/24 # a range
c2.example
https://c2.example/a
"##;

/// A seed of `list`.
const WARNINGLIST: &str = r##"{"name":"x","type":"cidr","list":["8.8.8.0/24"]}"##;

/// An object by itself.
const OBJECT: &str = "{\"type\":\"indicator\",\"spec_version\":\"2.1\",\"id\":\
    \"indicator--00000000-0000-4000-8000-000000000003\",\"created\":\"2026-01-01T00:00:00.000Z\",\"modified\":\
    \"2026-01-01T00:00:00.000Z\",\"pattern\":\"[ipv4-addr:value = '198.51.100.7']\",\"pattern_type\":\"stix\",\
    \"valid_from\":\"2026-01-01T00:00:00Z\",\"object_marking_refs\":\
    [\"marking-definition--00000000-0000-4000-8000-000000000001\"]}";

/// A bundle with a marking of its own, and something that it marks.
const STIX: &str = "{\"type\":\"bundle\",\"id\":\"bundle--00000000-0000-4000-8000-000000000000\",\"objects\":[\
    {\"type\":\"marking-definition\",\"spec_version\":\"2.1\",\"id\":\
    \"marking-definition--00000000-0000-4000-8000-000000000001\",\"created\":\"2026-01-01T00:00:00Z\",\
    \"definition_type\":\"tlp\",\"definition\":{\"tlp\":\"green\"}},\
    {\"type\":\"tool\",\"spec_version\":\"2.1\",\"id\":\"tool--00000000-0000-4000-8000-000000000002\",\
    \"created\":\"2026-01-01T00:00:00Z\",\"modified\":\"2026-01-01T00:00:00Z\",\"name\":\"t\",\
    \"labels\":[\"tlp:amber\"],\"object_marking_refs\":\
    [\"marking-definition--00000000-0000-4000-8000-000000000001\"],\"granular_markings\":[{\"marking_ref\":\
    \"marking-definition--00000000-0000-4000-8000-000000000001\",\"selectors\":[\"name\"]}]}]}";

fn frames(world: &World) -> Vec<(&'static str, Frame)> {
    let norland = partner("norland");
    let sealed = world.sealed[1].clone();
    let refusal = Refusal::new("code", "words");
    let delivery = Delivery {
        bulletin: world.sealed[0].clone(),
        position: 4,
        released: 4,
        time: world.now,
        clauses: Vec::new(),
        onward: entente::agreement::Onward::WithinAgreement,
        inherited: Inherited::default(),
    };
    let key_sets = world.key_sets.iter().map(|one| KeySetVersions {
        partner: one.claimed().partner.clone(),
        versions: vec![one.clone()],
    });
    let evidence = Evidence {
        size: 4,
        agreements: vec![world.agreement.clone()],
        key_sets: key_sets.collect(),
        earlier: Vec::new(),
    };
    let hello = Hello {
        versions: vec![PROTOCOL_VERSION],
        limits: Limits::OURS,
        agent: "node".into(),
        time: world.now,
        resume: world.ack.ack.lanes.clone(),
        ledger: Some(world.ledger),
        witness: world
            .policy
            .witnesses()
            .map(|(_, one)| one.key.clone())
            .collect(),
        checkpoint: world.notes[0].clone(),
    };
    let welcome = Welcome {
        version: PROTOCOL_VERSION,
        limits: Limits::OURS,
        agent: "broker".into(),
        ledger: world.ledger,
        genesis: Bytes::from_static(b"genesis"),
        time: world.now,
        checkpoint: world.notes[1].clone(),
        size: 8,
        merge_delay: Duration::from_secs(10),
        tails: vec![LaneTail {
            precedence: Precedence::Routine,
            acked: 1,
            marks: vec![sealed.header_hash()],
        }],
    };
    let question = Question {
        about: sealed.id,
        recipients: vec![norland],
    };
    let asking = entente::session::AskingItem {
        bulletin: sealed.id,
        header: sealed.header_hash(),
        asker: partner("estmark"),
        questions: vec![question],
    };
    let wanted = WantedRecord {
        position: 4,
        bulletin: Some(sealed.header_hash()),
    };
    let opening = world.receipts[0].opening.clone();
    let path = TilePath::new(TileKind::Hashes(0), 0, 8).expect("a path");
    let statement = Statement::Withdrawal(world.withdrawal.clone());
    vec![
        ("hello", Frame::Hello(hello)),
        ("welcome", Frame::Welcome(welcome)),
        ("refuse", Frame::Refuse(refusal.clone())),
        (
            "submit",
            Frame::Submit {
                sequence: 1,
                bulletin: Ok(Box::new(sealed)),
            },
        ),
        (
            "promise",
            Frame::Promise {
                promise: world.promise.clone(),
                sequences: vec![1],
            },
        ),
        (
            "deliver",
            Frame::Deliver {
                number: 1,
                item: Some(Box::new(delivery)),
            },
        ),
        ("acknowledge", Frame::Acknowledge(world.ack.clone())),
        ("evidence", Frame::Evidence(evidence)),
        (
            "statement",
            Frame::Statement {
                sequence: 1,
                statement: Box::new(statement),
            },
        ),
        (
            "taken",
            Frame::StatementTaken {
                sequence: 1,
                result: Err(refusal),
            },
        ),
        (
            "asking",
            Frame::Asking(entente::session::Asking {
                consents: vec![asking],
                holds: Vec::new(),
            }),
        ),
        (
            "cosign",
            Frame::Cosign {
                sequence: 1,
                request: world.requests[1].to_string(),
            },
        ),
        ("checkpoint", Frame::Checkpoint(world.notes[2].clone())),
        ("fork", Frame::Fork(world.fork.to_string())),
        (
            "fetch-tile",
            Frame::Fetch {
                sequence: 1,
                what: Fetch::Tile(path),
            },
        ),
        (
            "fetch-records",
            Frame::Fetch {
                sequence: 2,
                what: Fetch::Records(vec![wanted]),
            },
        ),
        (
            "fetched",
            Frame::Fetched {
                sequence: 2,
                result: Ok(Fetched::Records(vec![(4, opening)])),
            },
        ),
        (
            "goodbye",
            Frame::Goodbye {
                reason: "words".into(),
            },
        ),
    ]
}
