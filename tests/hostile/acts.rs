//! Acts of operators and parties that do not hold.

#![allow(clippy::wildcard_imports, reason = "one table, in five files")]

use super::*;

/// Acts of operators and parties that do not hold.
pub(super) async fn forged_acts(siege: &mut Siege) {
    let stranger = SecretKey::from_seed([9; 32]).expect("a key");
    let entropy = SystemEntropy::new();
    let ledger = siege.ledger();
    let new = Scratch::new().expect("a directory");
    let home = Home::create(&new.path().join("new"), &partner("new"), now(), &entropy);
    let newcomer = home.expect("a partner").key_set().expect("a key set");
    let admit = |set: &SignedKeySet, ledger: LedgerId, operator: &str, key: &SecretKey| {
        let payload = PartnerAdmitted::payload(ledger, set);
        let signature = key.sign(PayloadType::Admission, &payload).expect("signed");
        Request::Admit {
            key_set: BASE64.encode(&set.to_bytes()),
            operator: operator.to_owned(),
            key: signature.key_id.to_string(),
            signature: BASE64.encode(&signature.bytes),
        }
    };
    let own = operator(siege);
    let known = siege.home("norland").key_set().expect("a key set");
    let other_ledger = LedgerId(Digest::of(b"other"));
    let unsigned = {
        let key_set: KeySet = newcomer.claimed().clone();
        SignedKeySet::sign(key_set, &[&stranger]).expect("signed")
    };
    let (replay, signature) = order(
        siege,
        "suspended",
        Standing::Active,
        now().saturating_sub(Duration::from_secs(9_999)),
    );
    let agreement = |change: &dyn Fn(String) -> String, signers: &[&str]| {
        let path = siege.cluster.layout().agreements().join("cyber.toml");
        let text = change(
            std::fs::read_to_string(path)
                .expect("an agreement")
                .replace("cyber", "second"),
        );
        let text = text.replace("kinds = [\"second\"]", "kinds = [\"cyber\"]");
        let terms = parse_draft(&text).expect("terms");
        let mut signed = SignedAgreement::unsigned(&terms).expect("terms");
        for name in signers {
            let key = read_secret_key(&siege.home(name).agreements_key()).expect("a key");
            signed.ratify(&partner(name), &key).expect("signed");
        }
        Request::Ratify {
            agreement: BASE64.encode(&signed.to_file()),
        }
    };
    let all = ["norland", "estmark", "mallory"];
    let same = |text: String| text;
    let elsewhere = |text: String| text.replace(&ledger.to_string(), &other_ledger.to_string());
    let over = |text: String| {
        let year = &text[text.find("valid_from = \"").expect("a time") + 14..][..4];
        let (from, until) = (
            format!("valid_from = \"{year}"),
            format!(
                "valid_until = \"{}",
                year.parse::<u32>().expect("a year") + 1
            ),
        );
        text.replace(&from, "valid_from = \"2001")
            .replace(&until, "valid_until = \"2002")
    };
    let pinned = |text: String| {
        let pin = siege
            .home("mallory")
            .key_set()
            .expect("a key set")
            .hash()
            .to_string();
        text.replace(&pin, &"0".repeat(64))
    };
    let no_parties = BASE64.encode(b"not an agreement");
    let withdrawal = |by: &str, key: &SecretKey, ledger: LedgerId| {
        let Ok(signed) = SignedAgreement::from_file(
            &std::fs::read(siege.cluster.layout().agreement("cyber")).expect("an agreement"),
        ) else {
            panic!("an agreement")
        };
        let withdrawal = Withdrawal {
            ledger: ledger.0,
            agreement: signed.id(),
            partner: partner(by),
            time: now(),
            reason: String::new(),
        };
        let signed = SignedWithdrawal::sign(withdrawal, key).expect("signed");
        Request::Withdraw {
            withdrawal: BASE64.encode(&signed.to_file()),
        }
    };
    let mallorys = read_secret_key(&siege.home("mallory").agreements_key()).expect("a key");
    let estmarks_list = siege
        .home("estmark")
        .authority()
        .expect("an authority")
        .revoke(&[], now(), now().saturating_add(Duration::from_hours(24)));
    let old_list = siege
        .home("mallory")
        .authority()
        .expect("an authority")
        .revoke(
            &[],
            now().saturating_sub(Duration::from_hours(24)),
            now().saturating_sub(Duration::from_mins(1)),
        );
    let cases = vec![
        (
            "an unknown operator",
            admit(&newcomer, ledger, "eve", &own),
            "unknown_operator",
        ),
        (
            "another's key for an operator",
            admit(&newcomer, ledger, OPERATOR, &stranger),
            "bad_operator_signature",
        ),
        (
            "an admission to another ledger",
            admit(&newcomer, other_ledger, OPERATOR, &own),
            "bad_operator_signature",
        ),
        (
            "admitted twice",
            admit(&known, ledger, OPERATOR, &own),
            "already_admitted",
        ),
        (
            "a key set that its owner did not sign",
            admit(&unsigned, ledger, OPERATOR, &own),
            "key_set",
        ),
        (
            "an old order again",
            stand(&replay, OPERATOR, &signature),
            "stale_order",
        ),
        (
            "an order under another's key",
            stand(
                &replay,
                OPERATOR,
                &stranger
                    .sign(PayloadType::StandingOrder, &replay)
                    .expect("signed"),
            ),
            "bad_operator_signature",
        ),
        (
            "a first key set as a rotation",
            Request::Rotate {
                key_set: BASE64.encode(&known.to_bytes()),
            },
            "key_set",
        ),
        (
            "no agreement",
            Request::Ratify {
                agreement: no_parties,
            },
            "unreadable",
        ),
        (
            "not base64",
            Request::Ratify {
                agreement: "%%%".into(),
            },
            "bad_request",
        ),
        (
            "a party did not sign",
            agreement(&same, &["norland", "estmark"]),
            "not_ratified",
        ),
        ("nobody signed", agreement(&same, &[]), "not_ratified"),
        (
            "for another ledger",
            agreement(&elsewhere, &all),
            "other_ledger",
        ),
        ("over already", agreement(&over, &all), "over"),
        (
            "another key set pinned",
            agreement(&pinned, &all),
            "other_key_set",
        ),
        (
            "a withdrawal by no party",
            withdrawal("stale", &mallorys, ledger),
            "not_party",
        ),
        (
            "a withdrawal in another's name",
            withdrawal("norland", &mallorys, ledger),
            "unknown_key",
        ),
        (
            "a withdrawal in another ledger",
            withdrawal("mallory", &mallorys, other_ledger),
            "other_ledger",
        ),
        (
            "a revocation list of another's authority",
            Request::Revoke {
                partner: partner("norland"),
                crl: BASE64.encode(&estmarks_list.expect("a list")),
            },
            "bad_crl",
        ),
        (
            "a revocation list that is over",
            Request::Revoke {
                partner: partner("mallory"),
                crl: BASE64.encode(&old_list.expect("a list")),
            },
            "bad_crl",
        ),
        (
            "a revocation list that was there before",
            Request::Revoke {
                partner: partner("revoked"),
                crl: BASE64.encode(
                    &crl_from_pem(&siege.home("revoked").roots().with_extension("crl"))
                        .expect("a list"),
                ),
            },
            "bad_crl",
        ),
        (
            "no revocation list",
            Request::Revoke {
                partner: partner("mallory"),
                crl: BASE64.encode(b"x"),
            },
            "bad_crl",
        ),
    ];
    let before = siege.status().await.size;
    for (name, request, expected) in cases {
        match siege.cluster.ask_broker(&request).await {
            Err(DeploymentError::Trouble { code, .. }) if code == expected => {}
            other => siege
                .wrong
                .push(format!("{name}: {other:?} instead of {expected}")),
        }
        siege.count += 1;
    }
    assert_eq!(
        siege.status().await.size,
        before,
        "nothing of it was recorded"
    );
    // The texts of agreements that say too little.
    for (name, from, to) in [
        ("no parties", "[parties]\n", "[nobody]\n"),
        ("an empty list of givers", "from = [\"*\"]", "from = []"),
        (
            "an unknown topic",
            "topics = [\"*\"]",
            "topics = [\"weather\"]",
        ),
        ("an unknown level", "TLP:AMBER", "TLP:PINK"),
    ] {
        let path = siege.cluster.layout().agreements().join("cyber.toml");
        let text = std::fs::read_to_string(path)
            .expect("an agreement")
            .replace(from, to);
        let error = parse_draft(&text).expect_err(name);
        assert!(error.line > 0 && !error.message.is_empty(), "{name}");
        siege.count += 1;
    }
}
