//! The audit names the first record that is wrong, whatever was done to the ledger.

#[path = "support/ledger.rs"]
mod ledger;

use entente::agreement::{SignedAgreement, SignedWithdrawal, Withdrawal, parse_draft};
use entente::audit::{Audited, Fault, Finding, verify};
use entente::bulletin::Precedence;
use entente::ledger::{Engine, Fact, LaneAck, LaneChain, MemoryEngine, Proposal, StoredRecord};
use ledger::{Ledger, key, partner};

/// Bulletins under an agreement, and nothing acknowledged yet.
fn ledger_until_the_acknowledgement() -> Ledger {
    let mut ledger = Ledger::new(7);
    let norland = ledger.admit("norland", 10);
    let estmark = ledger.admit("estmark", 20);
    let text = format!(
        "name = \"cyber\"\nversion = 1\nledger = \"{}\"\nvalid_from = \
         \"2026-01-01T00:00:00Z\"\nvalid_until = \"2027-06-01T00:00:00Z\"\n[parties]\n\
         \"norland.example\" = \"{}\"\n\"estmark.example\" = \"{}\"\n[[clause]]\nid = \
         \"feed\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics = [\"*\"]\nregions = \
         [\"*\"]\ntlp = \"TLP:AMBER\"\nwithhold = [\"source\"]\n",
        ledger.id(),
        norland.hash(),
        estmark.hash()
    );
    let terms = parse_draft(&text).expect("terms");
    let mut signed = SignedAgreement::unsigned(&terms).expect("terms");
    signed
        .ratify(&partner("norland"), &key(10))
        .expect("signed");
    signed
        .ratify(&partner("estmark"), &key(20))
        .expect("signed");
    ledger.record(Proposal::Fact(Fact::AgreementRatified(signed)));
    for text in ["one", "two", "three"] {
        ledger.publish(Precedence::Routine, text);
    }
    ledger.publish(Precedence::Flash, "four");
    ledger
}

/// A ledger with something of everything.
fn ledger() -> Ledger {
    let mut ledger = ledger_until_the_acknowledgement();
    let chain = ledger.chain(&partner("estmark"), 2).0;
    ledger.acknowledge(vec![LaneAck {
        precedence: Precedence::Routine,
        up_to: 2,
        chain,
    }]);
    let agreement = *ledger
        .state
        .agreements()
        .keys()
        .next()
        .expect("an agreement");
    let withdrawal = Withdrawal {
        ledger: ledger.id().0,
        agreement,
        partner: partner("norland"),
        time: ledger.now,
        reason: "a test".into(),
    };
    let withdrawal = SignedWithdrawal::sign(withdrawal, &key(10)).expect("signed");
    ledger.record(Proposal::Fact(Fact::AgreementWithdrawn(withdrawal)));
    ledger.publish(Precedence::Routine, "to nobody");
    ledger
}

fn audit(records: &[StoredRecord], checkpoint: Option<String>) -> Result<Audited, Finding> {
    let engine = MemoryEngine::new();
    engine.append(0, records).expect("written");
    verify(&engine, checkpoint, |_| {})
}

fn position(finding: &Finding) -> Option<u64> {
    match finding {
        Finding::Record { position, .. } => Some(*position),
        _ => None,
    }
}

#[test]
fn an_honest_ledger_holds() {
    let ledger = ledger();
    let audited = audit(&ledger.stored(), Some(ledger.checkpoint())).expect("it holds");
    assert_eq!(audited.records, ledger.state.size());
    assert_eq!(audited.signed, Some(ledger.state.size()));
    assert_eq!(
        (
            audited.bulletins,
            audited.releases,
            audited.acknowledgements
        ),
        (5, 4, 1)
    );
    assert_eq!(audited.bodies, 5);
}

#[test]
fn a_changed_byte_anywhere_is_found_in_its_record() {
    let ledger = ledger();
    let stored = ledger.stored();
    let checkpoint = ledger.checkpoint();
    for at in 0..stored.len() {
        let length = stored[at].record.len();
        // Every byte of short records, a sample of long ones.
        for byte in (0..length).step_by(length / 64 + 1) {
            let mut changed = stored.clone();
            let mut bytes = changed[at].record.to_vec();
            bytes[byte] ^= 0x40;
            changed[at].record = bytes.into();
            let finding = audit(&changed, Some(checkpoint.clone())).expect_err("changed");
            assert_eq!(
                position(&finding),
                Some(at as u64),
                "byte {byte} of record {at}: {finding}"
            );
        }
        let mut changed = stored.clone();
        changed[at].entry[7] ^= 1;
        let finding = audit(&changed, Some(checkpoint.clone())).expect_err("changed");
        assert_eq!(position(&finding), Some(at as u64), "entry {at}: {finding}");
        if let Some(bodies) = &stored[at].bodies {
            let mut changed = stored.clone();
            let mut bytes = bodies.to_vec();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            changed[at].bodies = Some(bytes.into());
            let finding = audit(&changed, Some(checkpoint.clone())).expect_err("changed");
            assert_eq!(
                position(&finding),
                Some(at as u64),
                "bodies of {at}: {finding}"
            );
        }
    }
}

#[test]
fn records_left_out_swapped_repeated_or_cut_off_are_found() {
    let ledger = ledger();
    let stored = ledger.stored();
    let checkpoint = Some(ledger.checkpoint());
    for at in 1..stored.len() - 1 {
        let mut fewer = stored.clone();
        fewer.remove(at);
        assert!(audit(&fewer, checkpoint.clone()).is_err(), "without {at}");
        let mut swapped = stored.clone();
        swapped.swap(at, at + 1);
        let finding = audit(&swapped, checkpoint.clone()).expect_err("swapped");
        // The records are timed one after the other: the second of a swapped pair comes too late.
        assert!(
            position(&finding).is_some_and(|found| found <= at as u64 + 1),
            "{at}: {finding}"
        );
        let mut twice = stored.clone();
        twice.insert(at, stored[at].clone());
        assert!(audit(&twice, checkpoint.clone()).is_err(), "{at} twice");
    }
    let short = &stored[..stored.len() - 1];
    let finding = audit(short, checkpoint.clone()).expect_err("cut off");
    assert!(matches!(finding, Finding::Shortened { .. }), "{finding}");
    assert!(matches!(audit(&[], checkpoint), Err(Finding::Empty)));
}

#[test]
fn a_record_forged_with_its_entry_does_not_fit_the_checkpoint() {
    let honest = ledger();
    // The same admission under other salts, with an entry that fits it: only the root tells.
    let mut other = Ledger::new(8);
    other.admit("norland", 10);
    let mut stored = honest.stored();
    assert_eq!(other.id(), honest.id());
    assert_ne!(other.stored()[1].record, stored[1].record);
    stored[1] = other.stored()[1].clone();
    let finding = audit(&stored, Some(honest.checkpoint())).expect_err("another root");
    assert!(matches!(finding, Finding::OtherRoot { .. }), "{finding}");
    let finding = audit(&stored[..2], None);
    assert!(
        finding.is_ok(),
        "without a checkpoint nothing tells: {finding:?}"
    );
    let mut checkpoint = honest.checkpoint();
    checkpoint = checkpoint.replace("alliance.example\n", "other.example\n");
    assert!(matches!(
        audit(&honest.stored(), Some(checkpoint)),
        Err(Finding::Checkpoint(_) | Finding::OtherLog { .. })
    ));
}

#[test]
fn a_release_that_the_agreements_do_not_give_is_found() {
    // The records of a ledger in which the agreement was in force, without the record that put it
    // in force: what was released then has no right any more.
    let ledger = ledger();
    let mut stored = ledger.stored();
    let withheld = stored.remove(3);
    assert!(withheld.record.len() > 100);
    let finding = audit(&stored, None).expect_err("no agreement");
    match finding {
        Finding::Record {
            position: 3,
            kind: "accepted",
            fault: Fault::Decision { partner, .. },
        } => {
            assert_eq!(partner.as_str(), "estmark.example");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn an_acknowledgement_of_something_else_than_was_released_is_in_dispute() {
    let estmark = partner("estmark");
    for (sent, wrong) in [
        ("void", true),
        ("more withheld", true),
        ("as decided", false),
    ] {
        let mut ledger = ledger_until_the_acknowledgement();
        let start = LaneChain::start(ledger.id(), &estmark, Precedence::Routine);
        let releases = ledger.records().into_iter().flat_map(|one| one.releases);
        let chain = match sent {
            "void" => start.void(1).void(2),
            // A broker may withhold no more than was decided.
            "more withheld" => releases.take(2).fold(start, |chain, one| {
                chain.delivered(one.number, &one.bulletin, &[0, 1, 2, 3])
            }),
            _ => ledger.chain(&estmark, 2),
        };
        let lanes = vec![LaneAck {
            precedence: Precedence::Routine,
            up_to: 2,
            chain: chain.0,
        }];
        ledger.acknowledge(lanes);
        let audited = audit(&ledger.stored(), Some(ledger.checkpoint())).expect("it holds");
        assert_eq!(
            !audited.disputed.is_empty(),
            wrong,
            "{:?}",
            audited.disputed
        );
    }
}
