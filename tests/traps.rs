//! Traps that other systems of this kind have fallen into, and the test that each has here. `file.rs` and the
//! names of its tests stand in backquotes; `every_trap_has_its_test` looks that they are there.
//!
//! | trap | tests |
//! |---|---|
//! | an empty set of recipients means everybody | `tests/traps.rs` `an_empty_set_of_recipients_is_nobody` |
//! | who left goes on receiving, or somebody goes on by the old list | `tests/route.rs` `a_withdrawal_stops_what_is_already_queued` `what_waits_is_delivered_under_what_still_holds` |
//! | a part is laxer or stricter than its bulletin; what is left is nothing, and is delivered | `tests/traps.rs` `a_part_is_as_strict_as_its_bulletin_and_of_what_has_nothing_left_nothing_goes` |
//! | a reference is redacted, and a text or a container shows it | `tests/traps.rs` `what_shows_a_withheld_value_is_withheld_in_text_and_container` `tests/stix.rs` `what_comes_in_goes_out_again` |
//! | who may have TLP:AMBER is given TLP:AMBER+STRICT | `tests/traps.rs` `who_may_have_amber_is_not_given_amber_strict` |
//! | between what is made and what restricts it there is a moment | `tests/history.rs` `what_is_held_goes_when_two_persons_let_it_go_and_not_before` `tests/notices.rs` `a_bulletin_under_embargo_waits_and_then_goes` |
//! | the duplicate of what was refused gets a receipt | `tests/traps.rs` `what_was_refused_is_refused_again` |
//! | nobody stamps or cosigns, and everything stops | `tests/evidence.rs` `without_the_quorum_bulletins_flow_and_receipts_wait` |
//! | what is checked is another's than what is done; what is not configured is open | `tests/taxii_exchange.rs` `a_node_does_not_serve_others_than_this_machine_without_tls` `src/gateway/taxii/access.rs` `no_credential_is_of_two_clients` `tests/history.rs` `nobody_declares_or_gives_notice_for_another` |
//! | very many at once arrive in part | `tests/volume.rs` `a_bundle_of_very_many_objects_arrives_whole` `a_feed_of_very_many_events_goes_through_in_little_memory` |
//! | three that give to one another go on for ever | `tests/traps.rs` `in_a_circle_of_three_nothing_comes_round_again` |
//! | a preview says something else than what happens | `tests/history.rs` `preview_explanation_and_audit_are_what_was_recorded` |
//! | one that is slow holds up others, or fills memory, and nobody sees it | `tests/wire.rs` `a_recipient_that_does_not_read_holds_up_nobody` `a_peer_cannot_make_the_broker_hold_more_than_its_windows` `tests/notices.rs` `who_does_not_take_a_warning_in_time_is_named` |
//! | TAXII: media types without version and in lists, slashes, empty lists, microseconds | `tests/taxii.rs` `every_endpoint_negotiates_its_media_type` `a_path_without_its_last_slash_leads_to_the_one_that_has_it` `what_a_server_is_is_told_without_empty_lists` `src/gateway/taxii/version.rs` `a_timestamp_has_six_digits_always_and_is_read_with_fewer` |

#[path = "support/alliance.rs"]
mod alliance;
#[path = "support/ledger.rs"]
mod ledger;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use alliance::{entente, plan, prepared, publish, settled, start};
use entente::agreement::{SignedAgreement, parse_draft};
use entente::bulletin::{Draft, Labels, PartClass, PartLabels};
use entente::clock::SeededEntropy;
use entente::decision::{Reason, Release, Rulebook, decide_for};
use entente::formats::stanag4774::{ConfidentialityLabel, read_label, write_label};
use entente::ledger::Outcome;
use entente::partner::Standing;
use entente::testing::Scratch;
use ledger::{Ledger, partner};

#[test]
fn every_trap_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = fs::read_to_string(root.join("tests/traps.rs")).expect("this file");
    let rows = own.lines().filter_map(|line| line.strip_prefix("//! | "));
    let mut wrong = Vec::new();
    let mut traps = 0;
    for row in rows.skip(1) {
        let (trap, tests) = row.split_once(" | ").expect("two cells");
        let (mut code, mut found) = (String::new(), 0);
        for word in tests.split('`').skip(1).step_by(2) {
            if word.contains('/') {
                code = fs::read_to_string(root.join(word)).unwrap_or_default();
            } else if code.contains(&format!("fn {word}(")) {
                found += 1;
            } else {
                wrong.push(format!("{trap}: there is no test {word}"));
            }
        }
        if found == 0 {
            wrong.push(format!("{trap}: it has no test"));
        }
        traps += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(traps, 14, "the table of traps lost its rows");
}

/// An agreement of Norland and Estmark with this clause.
fn rulebook(clause: &str) -> Result<Rulebook, String> {
    let text = format!(
        "name = \"a\"\nversion = 1\nledger = \"{0:064}\"\nvalid_from = \"2026-01-01T00:00:00Z\"\n\
         valid_until = \"2027-01-01T00:00:00Z\"\n[parties]\n\"norland.example\" = \"{1:064}\"\n\
         \"estmark.example\" = \"{2:064}\"\n[[clause]]\nid = \"c\"\nfrom = [\"*\"]\nkinds = [\"cyber\"]\n\
         topics = [\"cyber\"]\nregions = [\"*\"]\n{clause}",
        0, 1, 2
    );
    let terms = parse_draft(&text).map_err(|error| error.to_string())?;
    let id = SignedAgreement::unsigned(&terms).expect("terms").id();
    let mut rulebook = Rulebook::new();
    for name in ["norland", "estmark"] {
        rulebook.set_standing(partner(name), Standing::Active);
    }
    rulebook.insert_terms(id, &Arc::new(terms));
    Ok(rulebook)
}

fn labels(bulletin: &str) -> (Labels, Vec<PartLabels>) {
    let text = format!("kinds = [\"cyber\"]\ntopics = [\"cyber\"]\n{bulletin}");
    let draft = Draft::from_toml(&text).expect("a bulletin");
    let unsealed =
        draft.into_unsealed(&partner("norland"), ledger::start(), &SeededEntropy::new(1));
    unsealed.expect("valid").labels().expect("labels")
}

/// What Estmark is given of a bulletin of Norland's under a clause.
fn given(clause: &str, bulletin: &str) -> Result<Release, Reason> {
    let rulebook = rulebook(clause).expect("an agreement");
    let (labels, parts) = labels(bulletin);
    let decided = decide_for(
        &rulebook,
        None,
        &labels,
        &parts,
        ledger::start(),
        &partner("estmark"),
    );
    decided.map_err(|refusal| refusal.reason)
}

const DOMAIN: &str = "{ type = \"domain\", value = \"c2.example\" }";

#[test]
fn an_empty_set_of_recipients_is_nobody() {
    let all = "to = [\"*\"]\ntlp = \"TLP:AMBER\"\n";
    let bulletin = format!("tlp = \"TLP:GREEN\"\npart = [{DOMAIN}]\n");
    given(all, &bulletin).expect("released");
    // Of a bulletin.
    let (mut to_nobody, parts) = labels(&bulletin);
    to_nobody.releasable_to = Some([].into_iter().collect());
    let rules = rulebook(all).expect("an agreement");
    let (now, estmark) = (ledger::start(), partner("estmark"));
    let decided = decide_for(&rules, None, &to_nobody, &parts, now, &estmark);
    assert_eq!(decided.expect_err("refused").reason, Reason::NotReleasable);
    // Of a clause: it cannot even be written, or names nobody.
    if let Ok(rules) = rulebook("to = []\ntlp = \"TLP:AMBER\"\n") {
        let (labels, parts) = labels(&bulletin);
        decide_for(&rules, None, &labels, &parts, now, &estmark).expect_err("refused");
    }
    // And of a confidentiality label: an empty list stays one.
    let label = ConfidentialityLabel {
        classification: entente::bulletin::Classification {
            policy: "NATO".into(),
            level: "SECRET".parse().expect("a level"),
        },
        releasable_to: Some(Vec::new()),
        created: now,
    };
    let read = read_label(write_label(&label).as_bytes()).expect("a label");
    assert_eq!(read.releasable_to, Some(Vec::new()));
}

#[test]
fn a_part_is_as_strict_as_its_bulletin_and_of_what_has_nothing_left_nothing_goes() {
    let green = "to = [\"*\"]\ntlp = \"TLP:GREEN\"\n";
    let amber = "{ type = \"ip\", value = \"198.51.100.7\", tlp = \"TLP:AMBER\" }";
    let both = format!("tlp = \"TLP:CLEAR\"\npart = [{DOMAIN}, {amber}]\n");
    let released = given(green, &both).expect("released");
    assert_eq!(released.withheld.as_slice(), [1], "the stricter one stays");
    let alone = format!("tlp = \"TLP:CLEAR\"\npart = [{amber}]\n");
    assert!(matches!(given(green, &alone), Err(Reason::NothingLeft(_))));
    // Nothing makes a part laxer than its bulletin.
    let laxer = DOMAIN.replace(" }", ", tlp = \"TLP:CLEAR\" }");
    let text = format!(
        "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:AMBER\"\npart = [{laxer}]\n"
    );
    if let Ok(draft) = Draft::from_toml(&text)
        && let Ok(unsealed) =
            draft.into_unsealed(&partner("norland"), ledger::start(), &SeededEntropy::new(1))
        && let Ok((labels, parts)) = unsealed.labels()
    {
        let rules = rulebook(green).expect("an agreement");
        let (now, estmark) = (ledger::start(), partner("estmark"));
        assert!(decide_for(&rules, None, &labels, &parts, now, &estmark).is_err());
    }
}

#[test]
fn what_shows_a_withheld_value_is_withheld_in_text_and_container() {
    let clause = "to = [\"*\"]\ntlp = \"TLP:AMBER\"\nwithhold = [\"network\"]\n";
    let shows = "{ type = \"narrative\", text = \"Implants report to c2.example.\" }";
    let other = "{ type = \"narrative\", text = \"Block it.\" }";
    let bulletin = format!("tlp = \"TLP:GREEN\"\npart = [{DOMAIN}, {shows}, {other}]\n");
    let released = given(clause, &bulletin).expect("released");
    assert_eq!(released.withheld.as_slice(), [0, 1]);
    let refuse = format!("{clause}references = \"refuse\"\n");
    given(&refuse, &bulletin).expect_err("or all of it is refused");
    // A report that names an object which is withheld is withheld, too.
    // By an id that is computed from what it says, that is: a random one says nothing.
    let id = |kind: &str, number: u8| format!("{kind}--00000000-0000-5000-8000-{number:012}");
    let indicator = format!(
        "{{\"id\":\"{}\",\"type\":\"domain-name\"}}",
        id("domain-name", 1)
    );
    let report = format!(
        "{{\"id\":\"{}\",\"type\":\"report\",\"object_refs\":[\"{}\"]}}",
        id("report", 2),
        id("domain-name", 1)
    );
    let bulletin = format!(
        "tlp = \"TLP:GREEN\"\npart = [{{ type = \"stix\", class = \"network\", json = '{indicator}' }}, \
         {{ type = \"stix\", class = \"narrative\", json = '{report}' }}, {other}]\n"
    );
    let (_, parts) = labels(&bulletin);
    assert_eq!(parts[0].class, Some(PartClass::Network));
    let released = given(clause, &bulletin).expect("released");
    assert_eq!(released.withheld.as_slice(), [0, 1]);
}

#[test]
fn who_may_have_amber_is_not_given_amber_strict() {
    let amber = "to = [\"*\"]\ntlp = \"TLP:AMBER\"\n";
    let strict = format!("tlp = \"TLP:AMBER+STRICT\"\npart = [{DOMAIN}]\n");
    given(amber, &strict).expect_err("refused");
    given("to = [\"*\"]\ntlp = \"TLP:AMBER+STRICT\"\n", &strict).expect("released");
    let part = DOMAIN.replace(" }", ", tlp = \"TLP:AMBER+STRICT\" }");
    let other = "{ type = \"ip\", value = \"198.51.100.7\" }";
    let bulletin = format!("tlp = \"TLP:AMBER\"\npart = [{part}, {other}]\n");
    let released = given(amber, &bulletin).expect("released");
    assert_eq!(released.withheld.as_slice(), [0]);
}

#[test]
fn what_was_refused_is_refused_again() {
    let mut ledger = Ledger::new(7);
    ledger.admit("norland", 10);
    let norland = partner("norland");
    let bulletin = |text: &str| {
        let text = format!(
            "id = \"0190163d-8694-439b-aea5-966c26f8ad91\"\nkinds = [\"cyber\"]\ntopics = [\"cyber\"]\n\
             tlp = \"TLP:GREEN\"\npart = [{{ type = \"narrative\", text = \"{text}\" }}]\n"
        );
        let draft = Draft::from_toml(&text).expect("a bulletin");
        let now = ledger::start();
        let unsealed = draft.into_unsealed(&norland, now, &SeededEntropy::new(1));
        unsealed.expect("valid")
    };
    let first = ledger.submit(&norland, 11, bulletin("one"));
    assert!(!matches!(first, Outcome::Refused(_)), "{first:?}");
    for _ in 0..3 {
        let again = ledger.submit(&norland, 11, bulletin("another"));
        assert!(matches!(again, Outcome::Refused(_)), "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_circle_of_three_nothing_comes_round_again() {
    let scratch = Scratch::new().expect("a directory");
    let all = ["norland", "estmark", "ostland"];
    let mut cluster = prepared(&scratch, plan(&all)).await;
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &all).await;
    // Each gives to both others, twice: the second time everything of the first has come as far as it goes.
    for round in 1..=2 {
        for one in all {
            publish(&cluster, one, &format!("round {round} of {one}")).await;
        }
        for one in all {
            settled(&cluster, one, |status| status.received >= 2 * round).await;
        }
    }
    for one in all {
        settled(&cluster, one, |status| status.received == 4).await;
    }
    let config = cluster.layout().broker().join("broker.toml");
    let (code, said) = entente(&["audit", "verify", "--config", &config.display().to_string()]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("bulletins 6, releases 12"), "{said}");
    cluster.stop().await.expect("stopped");
}
