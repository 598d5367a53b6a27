//! Statements for who was not there, and everything else that `entente verify` takes: what is true verifies
//! from files alone, and what was changed or left out does not.

#![allow(clippy::too_many_lines, reason = "a story is told in one piece")]

#[path = "support/alliance.rs"]
mod alliance;
#[path = "support/ledger.rs"]
mod ledger;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use alliance::{PROGRAM, entente};
use entente::audit::{
    InvalidStatement, Statement, StatementMaker, Subject, Trusted, Unconvincing, examine_ledger,
    verify_statement,
};
use entente::bulletin::{BulletinId, Draft, Precedence};
use entente::clock::Timestamp;
use entente::deployment::{AgreementPlan, Plan, Runner};
use entente::ledger::{Fact, LaneAck, PieceKind, Record};
use entente::node::{Command, Response};
use entente::proof::{NoteKey, Policy, Signer};
use entente::testing::{Cluster, Scratch};
use ledger::{Ledger, NAME, key, partner};

fn agreement(ledger: &Ledger, name: &str, parties: &[(&str, String)], more: &str) -> String {
    let parties: Vec<String> = parties
        .iter()
        .map(|(name, pin)| format!("\"{name}.example\" = \"{pin}\"\n"))
        .collect();
    format!(
        "name = \"{name}\"\nversion = 1\nledger = \"{}\"\nvalid_from = \"2026-01-01T00:00:00Z\"\n\
         valid_until = \"2027-06-01T00:00:00Z\"\n[parties]\n{}[[clause]]\nid = \"feed\"\nfrom = \
         [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics = [\"*\"]\nregions = [\"*\"]\ntlp = \
         \"TLP:AMBER\"\n{more}",
        ledger.id(),
        parties.concat()
    )
}

/// Norland shares with Estmark, and confidentially with Sudland; Estmark holds four of its six.
fn shared() -> Ledger {
    let mut ledger = Ledger::new(9);
    let pins = [
        ("norland", ledger.admit("norland", 10).hash().to_string()),
        ("estmark", ledger.admit("estmark", 20).hash().to_string()),
        ("sudland", ledger.admit("sudland", 30).hash().to_string()),
    ];
    let text = agreement(&ledger, "cyber", &pins[..2], "withhold = [\"source\"]\n");
    ledger.ratify(&text, &[("norland", 10), ("estmark", 20)]);
    let both = [pins[0].clone(), pins[2].clone()];
    let text = agreement(&ledger, "quiet", &both, "confidential_recipients = true\n");
    ledger.ratify(&text, &[("norland", 10), ("sudland", 30)]);
    for text in ["one", "two", "three", "four"] {
        ledger.publish(Precedence::Routine, text);
    }
    let mut released: Vec<_> = ledger.records();
    released.retain(|one| matches!(one.fact, Fact::Accepted(_)));
    let chain = released
        .iter()
        .flat_map(|record| &record.releases)
        .filter(|one| one.release.recipient == partner("estmark"))
        .fold(
            entente::ledger::LaneChain::start(
                ledger.id(),
                &partner("estmark"),
                Precedence::Routine,
            ),
            |chain, one| chain.delivered(one.number, &one.bulletin, &one.release.withheld),
        );
    ledger.acknowledge(vec![LaneAck {
        precedence: Precedence::Routine,
        up_to: 4,
        chain: chain.0,
    }]);
    for text in ["five", "six"] {
        ledger.publish(Precedence::Routine, text);
    }
    ledger
}

fn bulletins(ledger: &Ledger) -> Vec<(BulletinId, Timestamp)> {
    let accepted = ledger
        .records()
        .into_iter()
        .filter_map(|record| match record.fact {
            Fact::Accepted(accepted) => Some((accepted.header.id, record.time)),
            _ => None,
        });
    accepted.collect()
}

fn statement(
    ledger: &Ledger,
    subject: Subject,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Statement {
    let mut maker = StatementMaker::new(subject, since, until, ledger.state.size());
    let records: Vec<Record> = ledger.records();
    for record in &records {
        maker.note(record);
    }
    for record in &records {
        maker.take(record);
    }
    maker
        .finish(ledger.checkpoint(), ledger.now)
        .expect("a statement")
}

fn policy() -> Policy {
    Policy::of_log(NoteKey::new(NAME, key(1).public_key()).expect("a key"))
}

fn trusted() -> Trusted {
    Trusted {
        policy: policy(),
        key_sets: Vec::new(),
        pins: BTreeMap::new(),
    }
}

/// What a statement proves, signed by the log's key: also one that its operator has changed.
fn proved(statement: &Statement) -> Result<(String, String), InvalidStatement> {
    let text = statement.sign(&key(1)).expect("signed");
    let evidence = verify_statement(&text, &trusted())?;
    let all = [evidence.proved, evidence.details].concat().join("\n");
    Ok((all, evidence.not_proved.join("\n")))
}

fn is_record(result: Result<(String, String), InvalidStatement>) -> bool {
    matches!(result, Err(InvalidStatement::Record { .. }))
}

#[test]
fn a_partners_statement_is_complete_and_shows_nothing_of_others() {
    let ledger = shared();
    let estmark = Subject::Partner(partner("estmark"));
    let whole = statement(&ledger, estmark, None, None);
    let (yes, no) = proved(&whole).expect("it holds");
    for said in [
        "0 bulletins that estmark.example published under its name and 6 that went to it",
        "released to estmark.example in lane ROUTINE nothing is left out up to number 6",
        "that it took lane ROUTINE up to number 4",
        "agreement cyber@1 is in force, signed by estmark.example, norland.example",
        "one part withheld",
    ] {
        assert!(yes.contains(said), "{said}: {yes}");
    }
    assert!(no.contains("after number 6 of lane ROUTINE"), "{no}");
    assert!(no.contains("lane PRIORITY"), "{no}");
    let text = whole.sign(&key(1)).expect("signed");
    assert!(!yes.contains("sudland") && !yes.contains("quiet"), "{yes}");
    for secret in ["sudland", "quiet", "secret"] {
        for item in &whole.items {
            let opening = item.opening.to_bytes();
            let found = opening
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in record {}", item.position);
        }
    }

    // Its originator sees whom it may know, and how many it may not.
    let norland = statement(&ledger, Subject::Partner(partner("norland")), None, None);
    let (yes, _) = proved(&norland).expect("it holds");
    assert!(
        yes.contains("6 bulletins that norland.example published under its name and 0 that"),
        "{yes}"
    );
    assert!(yes.contains("estmark.example under cyber@1/feed"), "{yes}");
    assert!(yes.contains("and 1 whom it may not know"), "{yes}");
    let opened = |name: &str| {
        let mut items = norland.items.iter().filter(|one| one.bulletin.is_some());
        items.any(|one| {
            let bytes = one.opening.to_bytes();
            bytes
                .windows(name.len())
                .any(|window| window == name.as_bytes())
        })
    };
    assert!(opened("estmark") && !opened("sudland"));

    // Nobody else signed it, and not a byte of it is another.
    let mut others = trusted();
    others.policy = Policy::of_log(NoteKey::new(NAME, key(2).public_key()).expect("a key"));
    assert_eq!(
        verify_statement(&text, &others),
        Err(InvalidStatement::Signature)
    );
    let at = text.find("payload\": \"").expect("a payload") + 40;
    let mut changed = text.clone().into_bytes();
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).expect("text");
    assert_eq!(
        verify_statement(&changed, &trusted()),
        Err(InvalidStatement::Signature)
    );
}

#[test]
fn an_operator_that_leaves_something_out_is_found() {
    let ledger = shared();
    let known = bulletins(&ledger);
    let (since, until) = (Some(known[2].1), Some(known[4].1));
    let window =
        |since, until| statement(&ledger, Subject::Partner(partner("estmark")), since, until);
    // Two bulletins are within; the one before and the one after prove that these are all.
    let honest = window(since, until);
    let (yes, no) = proved(&honest).expect("it holds");
    assert!(yes.contains("and 2 that went to it"), "{yes}");
    assert!(
        !no.contains("was released to estmark.example after"),
        "{no}"
    );
    let about: Vec<usize> = (0..honest.items.len())
        .filter(|at| honest.items[*at].bulletin.is_some())
        .collect();
    assert_eq!(about.len(), 4);
    for (left, at) in about.iter().enumerate() {
        let mut less = honest.clone();
        less.items.remove(*at);
        match (left, proved(&less)) {
            // Without the last, it is no longer said that nothing came after.
            (3, Ok((_, no))) => assert!(
                no.contains("was released to estmark.example after number 4"),
                "{no}"
            ),
            (3, other) => panic!("{other:?}"),
            (_, result) => {
                assert!(
                    matches!(result, Err(InvalidStatement::LeftOut { .. })),
                    "{left}"
                );
            }
        }
    }
    // The beginning is the beginning of the lane.
    let mut less = window(None, None);
    let first = less.items.iter().position(|one| one.bulletin.is_some());
    less.items.remove(first.expect("one"));
    assert!(matches!(
        proved(&less),
        Err(InvalidStatement::LeftOut { from: 0, .. })
    ));

    // Whatever it needs to verify signatures must be there.
    for at in 0..honest.items.len() {
        let mut less = honest.clone();
        let gone = less.items.remove(at);
        let governs = gone.bulletin.is_none();
        let (_, shown) = gone.opening.verify().expect("an opening");
        let ack = matches!(shown.fact, Some((_, Fact::Acknowledged(_))));
        let agreement = matches!(shown.fact, Some((_, Fact::AgreementRatified(_))));
        let result = proved(&less);
        match result {
            Ok((yes, _)) if ack => assert!(!yes.contains("signed at"), "{yes}"),
            Ok((yes, _)) if agreement => assert!(yes.contains("0 agreements by all"), "{yes}"),
            Ok(_) => assert!(!governs || at + 1 == honest.items.len(), "item {at}"),
            Err(
                InvalidStatement::Record { .. }
                | InvalidStatement::LeftOut { .. }
                | InvalidStatement::OtherLedger,
            ) => {}
            Err(other) => panic!("item {at}: {other}"),
        }
    }
}

#[test]
fn a_changed_statement_does_not_hold_even_with_its_operators_signature() {
    let ledger = shared();
    let estmark = Subject::Partner(partner("estmark"));
    let honest = statement(&ledger, estmark.clone(), None, None);
    let about = honest.items.iter().position(|one| one.bulletin.is_some());
    let about = about.expect("a bulletin");
    // Another place, another proof, another bulletin.
    let mut moved = honest.clone();
    moved.items[about].position += 1;
    moved.items.truncate(about + 1);
    assert!(is_record(proved(&moved)));
    let mut other = honest.clone();
    other.items[about].path[0].0[0] ^= 1;
    assert!(is_record(proved(&other)));
    let mut swapped = honest.clone();
    let next = swapped.items[about + 1].bulletin.clone();
    swapped.items[about].bulletin = next;
    assert!(is_record(proved(&swapped)));
    let mut without = honest.clone();
    without.items[about].bulletin = None;
    assert!(is_record(proved(&without)));
    // What concerns another, or in another order.
    let mut foreign = honest.clone();
    foreign.subject = Subject::Partner(partner("sudland"));
    assert!(is_record(proved(&foreign)));
    let mut reordered = honest.clone();
    reordered.items.swap(about, about + 1);
    assert!(proved(&reordered).is_err());
    // Of another ledger.
    let mut elsewhere = honest.clone();
    elsewhere.ledger.0.0[0] ^= 1;
    assert!(proved(&elsewhere).is_err());
    let mut renamed = honest.clone();
    renamed.framework = "other.example".into();
    assert_eq!(proved(&renamed), Err(InvalidStatement::OtherLedger));
    let mut unsigned = honest.clone();
    let line = unsigned
        .checkpoint
        .lines()
        .last()
        .expect("a line")
        .to_owned();
    unsigned.checkpoint = unsigned.checkpoint.replace(&line, "");
    assert!(proved(&unsigned).is_err());
}

#[test]
fn a_bulletins_statement_says_to_whom_it_went_and_who_holds_it() {
    let ledger = shared();
    let known = bulletins(&ledger);
    let held = statement(&ledger, Subject::Bulletin(known[0].0), None, None);
    let (yes, no) = proved(&held).expect("it holds");
    for said in [
        "which its originator signed, to 2 recipients",
        "estmark.example signed at",
        "up to number 4: this bulletin has number 1",
        "to sudland.example under quiet@1/feed",
    ] {
        assert!(yes.contains(said), "{said}: {yes}");
    }
    assert!(no.contains("that sudland.example took it"), "{no}");
    let late = statement(&ledger, Subject::Bulletin(known[5].0), None, None);
    let (_, no) = proved(&late).expect("it holds");
    assert!(no.contains("that estmark.example took it"), "{no}");
    let mut other = late.clone();
    other.subject = Subject::Bulletin(known[0].0);
    assert!(is_record(proved(&other)));
}

#[test]
fn a_bulletins_statement_hides_none_of_its_recipients() {
    let ledger = shared();
    let known = bulletins(&ledger);
    let honest = statement(&ledger, Subject::Bulletin(known[0].0), None, None);
    let about = honest.items.iter().position(|one| one.bulletin.is_some());
    let about = about.expect("a record");
    let mut without = honest.clone();
    without.items.remove(about);
    assert_eq!(
        proved(&without),
        Err(InvalidStatement::NoRecord(known[0].0))
    );
    let pieces = honest.items[about].opening.pieces.len();
    let releases: Vec<usize> = (0..pieces)
        .filter(|at| honest.items[about].opening.pieces[*at].kind == PieceKind::Release)
        .collect();
    assert_eq!(releases.len(), 2);
    for at in releases {
        let mut hiding = honest.clone();
        hiding.items[about].opening.pieces.remove(at);
        assert!(is_record(proved(&hiding)), "release {at} hidden");
        // Nor does one stand for the other.
        let mut twice = honest.clone();
        let pieces = &mut twice.items[about].opening.pieces;
        let again = pieces[at].clone();
        pieces.retain(|one| one.kind != PieceKind::Release);
        pieces.extend([again.clone(), again]);
        assert!(is_record(proved(&twice)), "release {at} twice");
    }
    let unknown = Subject::Bulletin(BulletinId([7; 16]));
    let nothing = statement(&ledger, unknown, None, None);
    assert!(matches!(
        proved(&nothing),
        Err(InvalidStatement::NoRecord(_))
    ));
}

#[test]
fn whose_the_keys_are_the_log_says_unless_somebody_knows() {
    let ledger = shared();
    let estmark = statement(&ledger, Subject::Partner(partner("estmark")), None, None);
    let text = estmark.sign(&key(1)).expect("signed");
    let not_proved = |trusted: &Trusted| {
        verify_statement(&text, trusted).map(|evidence| evidence.not_proved.join("\n"))
    };
    let no = not_proved(&trusted()).expect("it holds");
    assert!(
        no.contains("those of estmark.example, norland.example"),
        "{no}"
    );
    let pin = |name: &str| {
        let known = ledger.state.registry().partner(&partner(name));
        (partner(name), known.expect("a partner").keys.pin())
    };
    let mut pinned = trusted();
    pinned.pins = BTreeMap::from(["estmark", "norland"].map(pin));
    let no = not_proved(&pinned).expect("it holds");
    assert!(!no.contains("key sets are those"), "{no}");
    let (norland, mut other) = pin("norland");
    other.0[0] ^= 1;
    pinned.pins.insert(norland.clone(), other);
    let partner = norland;
    assert_eq!(
        not_proved(&pinned),
        Err(InvalidStatement::OtherKeys { partner })
    );
}

#[test]
fn a_nameless_bulletin_is_put_upon_nobody() {
    let mut ledger = shared();
    let nameless = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[pseudonym]\n\
                    agreement = \"cyber\"\nas = \"alias\"\n[[part]]\ntype = \"narrative\"\ntext = \"x\"\n";
    let draft = Draft::from_toml(nameless).expect("a bulletin");
    ledger.publish_as(&partner("norland"), 11, vec![draft]);
    let (id, _) = *bulletins(&ledger).last().expect("a bulletin");
    // Its own statement does not unmask it.
    let norland = Subject::Partner(partner("norland"));
    let honest = statement(&ledger, norland.clone(), None, None);
    assert!(
        honest
            .items
            .iter()
            .all(|one| one.bulletin.as_ref().is_none_or(|one| one.id != id))
    );
    let (_, no) = proved(&honest).expect("it holds");
    assert!(no.contains("nothing under a pseudonym"), "{no}");
    // And nobody else puts it there.
    let about = statement(&ledger, Subject::Bulletin(id), None, None);
    let (_, no) = proved(&about).expect("it holds");
    assert!(no.contains("who published 1 of the bulletins"), "{no}");
    let mut forged = honest;
    forged.items.retain(|one| one.bulletin.is_none());
    let named = about.items.into_iter().filter(|one| one.bulletin.is_some());
    forged.items.extend(named);
    forged.items.sort_by_key(|one| one.position);
    assert!(is_record(proved(&forged)));
}

#[test]
fn records_beyond_the_checkpoint_of_an_export_are_nobodys() {
    let mut ledger = shared();
    let note = ledger.checkpoint();
    let signed = examine_ledger(&ledger.engine, &note, false, &trusted(), |_| {});
    signed.expect("it holds");
    // Whoever has the export can write its own bulletin after what was signed.
    ledger.publish(Precedence::Routine, "we warned you");
    let added = examine_ledger(&ledger.engine, &note, false, &trusted(), |_| {});
    let error = added.expect_err("nobody signed it");
    assert!(matches!(error, Unconvincing::Beyond { .. }), "{error}");
}

fn plan() -> Plan {
    let partners = ["norland", "estmark"].map(partner).to_vec();
    let mut plan = Plan::new(partner("alliance"), partners);
    plan.agreements.push(AgreementPlan {
        name: "cyber".into(),
        title: String::new(),
        parties: ["norland", "estmark"].map(partner).to_vec(),
        clauses: "[[clause]]\nid = \"feed\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = \
                  [\"cyber\"]\ntopics = [\"*\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\nwithhold = \
                  [\"source\"]\n"
            .into(),
    });
    plan
}

fn done(arguments: &[&str]) -> String {
    let (code, text) = entente(arguments);
    assert_eq!(code, 0, "{arguments:?}: {text}");
    text
}

async fn share(cluster: &Cluster, by: &str) -> BulletinId {
    let draft = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
                 \"narrative\"\ntext = \"what happened\"\n[[part]]\ntype = \"source\"\ndescription = \
                 \"who told\"\n";
    let by = partner(by);
    let draft = Draft::from_toml(draft).expect("a bulletin");
    let ids = cluster
        .publish(&by, vec![draft])
        .await
        .expect("in the outbox");
    cluster.promised(&by, &ids).await.expect("promised");
    cluster.delivered(ids[0]).await.expect("delivered");
    ids[0]
}

async fn log_key(cluster: &Cluster) -> String {
    let waiting = Command::Receipts {
        about: "cyber".into(),
        wait: 30_000,
    };
    let _ = cluster.ask_node(&partner("norland"), &waiting).await;
    match cluster
        .ask_node(&partner("norland"), &Command::Status)
        .await
    {
        Ok(Response::Status(status)) => status.log_key,
        other => panic!("no status: {other:?}"),
    }
}

fn changed(path: &Path, at: usize) -> PathBuf {
    let mut bytes = fs::read(path).expect("a file");
    // Of a bulletin's file the bulletin: the key set after it has signatures to spare.
    let end = bytes.windows(8).position(|window| window == b"-----END");
    let at = end.unwrap_or(bytes.len()) * at / 8;
    // A line may end in other ways.
    let visible = bytes[at..]
        .iter()
        .position(|byte| !byte.is_ascii_whitespace());
    let at = at + visible.expect("more than blanks");
    bytes[at] ^= 1;
    let other = path.with_extension("changed");
    fs::write(&other, bytes).expect("written");
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_can_be_exported_verifies_from_files_alone() {
    let scratch = Scratch::new().expect("a directory");
    let runner = Runner::Processes(PROGRAM.into());
    let cluster = Cluster::start(runner, scratch.path(), plan(), 1).await;
    let mut cluster = cluster.expect("a cluster");
    let id = share(&cluster, "norland").await;
    share(&cluster, "norland").await;
    share(&cluster, "estmark").await;
    cluster.checkpointed().await.expect("a checkpoint");
    let log = log_key(&cluster).await;
    let broker = cluster.layout().broker_config();
    let broker = broker.to_str().expect("a path").to_owned();
    let file = |name: &str| {
        scratch
            .path()
            .join(name)
            .to_str()
            .expect("a path")
            .to_owned()
    };

    // Of a running broker and node.
    let id = id.to_string();
    let partners = file("estmark.statement");
    let subject = [
        "--partner",
        "estmark.example",
        "--since",
        "2026-01-01T00:00:00Z",
    ];
    let export = ["audit", "export", "--config", &broker];
    done(&[&export[..], &subject, &["--out", &partners]].concat());
    let bulletins = file("bulletin.statement");
    done(&[&export[..], &["--bulletin", &id, "--out", &bulletins]].concat());
    let ledger = file("ledger.entente");
    done(&[&export[..], &["--contents", "--out", &ledger]].concat());
    let estmark = cluster.layout().node_config(&partner("estmark"));
    let bulletin = file("bulletin.pem");
    let node = ["--config", estmark.to_str().expect("a path")];
    done(&[&["inbox", &id, "--out", &bulletin][..], &node].concat());
    let agreement = cluster.layout().agreement("cyber");
    let agreement = agreement.to_str().expect("a path").to_owned();
    let key_sets: Vec<String> = ["norland", "estmark"]
        .map(|name| cluster.layout().home(&partner(name)).key_set_path())
        .map(|path| path.to_str().expect("a path").to_owned())
        .to_vec();
    // An order of the broker's files to the same end, once nothing runs.
    cluster.stop().await.expect("stopped");
    let offline = file("offline.entente");
    done(&[&export[..], &["--out", &offline]].concat());
    let again = file("again.statement");
    done(&[&export[..], &subject, &["--out", &again]].concat());
    let (code, text) = entente(&[&export[..], &["--out", &again]].concat());
    assert_eq!(code, 1, "written over: {text}");

    // The bulletin brings its key set; only its hash need be known.
    let (code, text) = entente(&["verify", &bulletin]);
    assert_eq!(code, 4, "{text}");
    let hash = text.split("with the hash ").nth(1).expect("a hash");
    let hash: String = hash
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    let pin = format!("norland.example={hash}");
    let text = done(&["verify", &bulletin, "--pin", &pin]);
    assert!(text.contains("1 of them withheld"), "{text}");
    let wrong = format!("norland.example={}", "0".repeat(hash.len()));
    let (code, _) = entente(&["verify", &bulletin, "--pin", &wrong]);
    assert_eq!(code, 4);
    let trust = [
        "--log-key",
        log.as_str(),
        "--key-set",
        &key_sets[0],
        "--key-set",
        &key_sets[1],
    ];
    let says = [
        (
            &partners,
            "1 bulletin that estmark.example published under its name since",
        ),
        (
            &again,
            "1 bulletin that estmark.example published under its name since",
        ),
        (&bulletins, "this bulletin has number 1"),
        (&ledger, "every one of the 3 releases of 3 bulletins"),
        (&offline, "they were not exported"),
        (
            &agreement,
            "all 2 parties signed exactly these terms: cyber@1",
        ),
    ];
    let pinned = ["--pin", pin.as_str()];
    let says = says.map(|(path, said)| (path, said, &trust[..]));
    let alone = [(&bulletin, "norland.example signed bulletin", &pinned[..])];
    for (path, said, trust) in says.into_iter().chain(alone) {
        let text = done(&[&["verify", path][..], trust].concat());
        assert!(text.contains(said), "{said}: {text}");
        let value = done(&[&["--json", "verify", path][..], trust].concat());
        let value: serde_json::Value = serde_json::from_str(&value).expect("JSON");
        assert_eq!(value["verified"], true, "{value}");
        // Nothing is believed without its key, and nothing that was changed.
        let (code, text) = entente(&["verify", path]);
        assert_eq!(code, 4, "{path}: {text}");
        for at in 1..8 {
            let other = changed(Path::new(path), at);
            let other = other.to_str().expect("a path");
            let (code, text) = entente(&[&["verify", other][..], trust].concat());
            assert!(code == 4, "{path} changed at {at} of 8: {text}");
        }
    }
    // An audit of the same files sees the same.
    let text = done(&["audit", "verify", "--config", &broker]);
    assert!(text.contains("bulletins 3, releases 3"), "{text}");
}
