//! CAP alerts: real ones in, and warnings out. The corpus lies beside the project; where it is not, the
//! first of these tests says that it skips.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures and skips are shown"
)]

#[path = "support/corpus.rs"]
mod corpus;
#[path = "support/disclosed.rs"]
mod support;

use corpus::files;
use entente::bulletin::{Draft, Precedence, Tlp};
use entente::formats::Labels;
use entente::formats::cap::{CapError, alert_of, draft, is_of, read_alert};
use support::disclosed;

fn labels() -> Labels {
    Labels {
        kinds: vec!["counterterrorism".parse().expect("a kind")],
        topics: vec!["counterterrorism/attack".parse().expect("a topic")],
        regions: Vec::new(),
        tlp: Tlp::Clear,
        precedence: Precedence::Flash,
        releasable_to: Vec::new(),
        exercise: false,
    }
}

#[test]
fn real_alerts_are_read_or_refused_by_name() {
    let (mut read, mut refused) = (0, 0);
    for set in ["cap/cap12-oasis-nws", "cap/google-cap-testdata"] {
        for (name, bytes) in files(set) {
            let alert = read_alert(&bytes);
            println!(
                "{name}: {:?}",
                alert.as_ref().map(|alert| alert.warnings.len())
            );
            match alert {
                Ok(alert) => {
                    read += 1;
                    assert!(
                        !name.contains("invalid") && !name.contains("errors"),
                        "{name}"
                    );
                    draft(&alert, &labels(), &[]).check().expect("a bulletin");
                }
                Err(error) => {
                    refused += 1;
                    assert!(!name.contains("cap12-oasis"), "{name}: {error}");
                    let other = matches!(error, CapError::NoAlert { .. } | CapError::Xml(_));
                    let known = ["invalid", "errors", "australia", "no_optional"];
                    assert!(
                        other || known.iter().any(|one| name.contains(one)),
                        "{name}: {error}"
                    );
                }
            }
        }
    }
    println!("{read} read, {refused} refused");
}

const WARNING: &str = r#"
kinds = ["counterterrorism"]
topics = ["counterterrorism/attack/vehicle"]
regions = ["EE-37"]
tlp = "TLP:AMBER"
precedence = "FLASH"
credibility = 2
part = [
    { type = "warning", text = "A lorry & <worse>.", from = "2026-11-24T00:00:00Z", until = "2026-11-25T00:00:00Z", place = "market", latitude = 59.4, longitude = 24.7 },
    { type = "action", text = "Close it." },
]
"#;

#[test]
fn a_warning_goes_out_and_comes_back_as_it_was() {
    let given = |change: &[(&str, &str)]| {
        let mut text = WARNING.to_owned();
        for (from, to) in change {
            text = text.replace(from, to);
        }
        disclosed(Draft::from_toml(&text).expect("a draft"), 1)
    };
    let sender = "warnings@norland.example";
    let text = alert_of(&given(&[]), sender).expect("an alert");
    let alert = read_alert(text.as_bytes()).expect("our own alert");
    assert_eq!((alert.exercise, alert.tlp), (false, Tlp::Amber), "{text}");
    let warning = &alert.warnings[0];
    assert!(warning.text.as_str().contains("A lorry & <worse>."));
    assert_eq!(
        warning.from.map(|at| at.to_string()).as_deref(),
        Some("2026-11-24T00:00:00Z")
    );
    assert_eq!(
        (warning.latitude, warning.longitude),
        (Some(59.4), Some(24.7))
    );
    assert_eq!(alert.actions[0].text.as_str(), "Close it.");

    let exercise = given(&[("credibility", "exercise = true\ncredibility")]);
    let text = alert_of(&exercise, sender).expect("an alert");
    assert!(text.contains("<status>Exercise</status>"));
    assert!(text.contains("<headline>EXERCISE: "));
    let public = alert_of(&given(&[("TLP:AMBER", "TLP:CLEAR")]), sender).expect("an alert");
    assert!(public.contains("<scope>Public</scope>"));
    assert!(
        !alert_of(&given(&[]), sender)
            .expect("an alert")
            .contains("Public")
    );

    // Not urgent, or no warning: no alert.
    assert_eq!(alert_of(&given(&[("FLASH", "ROUTINE")]), sender), None);
    let mut bulletin = given(&[]);
    bulletin.taken_back = Some("2026-11-24T12:00:00Z".parse().expect("a time"));
    let cancel = alert_of(&bulletin, sender).expect("an alert");
    let cancel = read_alert(cancel.as_bytes()).expect("our own alert");
    assert_eq!(
        cancel.references,
        [alert.reference],
        "it takes back what was sent"
    );
    bulletin.parts.clear();
    assert_eq!(alert_of(&bulletin, sender), None);
}

#[test]
fn an_alert_is_as_strict_as_its_strictest_part_and_ends_with_its_bulletin() {
    let text = WARNING
        .replace(
            "credibility",
            "classification = { policy = \"NATO\", level = \"RESTRICTED\" }\ncredibility",
        )
        .replace("\"Close it.\"", "\"Close it.\", level = \"SECRET\"");
    let mut bulletin = disclosed(Draft::from_toml(&text).expect("a draft"), 1);
    let sender = "warnings@norland.example";
    let alert = alert_of(&bulletin, sender).expect("an alert");
    let restriction = "<restriction>TLP:AMBER, NATO SECRET</restriction>";
    assert!(alert.contains(restriction), "{alert}");
    assert!(is_of(&alert, sender) && !is_of(&alert, "others@norland.example"));

    bulletin.superseded = Some("2026-11-24T12:00:00Z".parse().expect("a time"));
    assert_eq!(alert_of(&bulletin, sender), None, "another is in its place");
    bulletin.taken_back = bulletin.superseded;
    let cancel = alert_of(&bulletin, sender).expect("what was taken back is cancelled");
    assert!(cancel.contains("Cancel"), "{cancel}");
}
