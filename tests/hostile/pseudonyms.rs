//! Pseudonyms that are not what they should be.

#![allow(clippy::wildcard_imports, reason = "one table, in five files")]

use entente::bulletin::{
    Identity as Behind, Originator, PlainPart, Pseudonym, PseudonymDraft, PseudonymSecret, Shown,
    content::Content,
};

use super::bulletins::{signed, submit, unsealed};
use super::*;

fn secret() -> PseudonymSecret {
    PseudonymSecret::new(SecretKey::from_seed([8; 32]).expect("a key"))
}

fn draft(shown: Shown) -> PseudonymDraft {
    PseudonymDraft {
        agreement: "cyber".into(),
        shown,
        reveal_to: vec![partner("estmark")],
    }
}

/// As an honest node writes it, but for a change before it is sealed.
fn disguised(siege: &Siege, shown: Shown, change: impl FnOnce(&mut Unsealed)) -> Sealed {
    let disguised = secret().disguise(unsealed(), draft(shown), None, &siege.mallory);
    let (mut one, key) = disguised.expect("a pseudonym");
    change(&mut one);
    sealed_with(one, &key)
}

fn sealed_with(one: Unsealed, key: &SecretKey) -> Sealed {
    seal(vec![one], key, &SystemEntropy::new())
        .expect("sealed")
        .remove(0)
}

fn identity(behind: &Behind) -> PlainPart {
    PlainPart {
        class: entente::bulletin::PartClass::Identity,
        marking: Marking::default(),
        body: Content::Identity(Box::new(behind.clone()))
            .encode()
            .expect("an identity"),
        salt: None,
    }
}

/// A bulletin under a key, with whatever identity.
fn bearing(key: &SecretKey, single_use: bool, behind: &Behind) -> Sealed {
    let mut one = unsealed();
    one.header.originator = Originator::Pseudonym(Pseudonym {
        key: key.public_key(),
        single_use,
    });
    one.parts.push(identity(behind));
    sealed_with(one, key)
}

/// An identity signed for an agreement whose name is none, and encoded without a check.
fn with_long_name(siege: &Siege, key: &SecretKey) -> Sealed {
    use entente::proto;
    use prost::Message;
    let own = SecretKey::from_seed(**siege.mallory.seed()).expect("a key");
    let behind = behind("mallory", &"a".repeat(65_536), key, &own);
    let identity = proto::Identity {
        partner: behind.partner.to_string(),
        agreement: behind.agreement.clone(),
        reveal_to: vec![],
        signature: Some(proto::Signature {
            key_id: behind.signature.key_id.0.as_bytes().to_vec().into(),
            signature: behind.signature.bytes.to_vec().into(),
        }),
    };
    let content = proto::content::Content::Identity(identity);
    let mut one = unsealed();
    one.header.originator = Originator::Pseudonym(Pseudonym {
        key: key.public_key(),
        single_use: false,
    });
    one.parts.push(PlainPart {
        class: entente::bulletin::PartClass::Identity,
        marking: Marking::default(),
        body: proto::Content {
            content: Some(content),
        }
        .encode_to_vec()
        .into(),
        salt: None,
    });
    sealed_with(one, key)
}

fn behind(name: &str, agreement: &str, key: &SecretKey, own: &SecretKey) -> Behind {
    let key = key.public_key();
    Behind::sign(partner(name), agreement.into(), vec![], &key, own).expect("signed")
}

pub(super) async fn forged_pseudonyms(siege: &mut Siege) {
    let own = SecretKey::from_seed(**siege.mallory.seed()).expect("a key");
    let alias = secret().key("cyber", None).expect("a key");
    let stranger = SecretKey::from_seed([7; 32]).expect("a key");
    let honest = behind("mallory", "cyber", &alias, &own);
    let once = disguised(siege, Shown::Framework, |_| {});
    let once_key = secret().key("cyber", Some(&once.id)).expect("a key");
    let bound_once = behind("mallory", "cyber", &once_key, &own);
    let cases: Vec<(&str, Sealed, Option<&str>)> = vec![
        (
            "nobody behind it",
            disguised(siege, Shown::Alias, |one| drop(one.parts.pop())),
            Some("identity"),
        ),
        (
            "two behind it",
            disguised(siege, Shown::Alias, |one| one.parts.push(identity(&honest))),
            Some("identity"),
        ),
        (
            "somebody behind a name",
            {
                let mut one = unsealed();
                one.parts.push(identity(&honest));
                sealed_with(one, &own)
            },
            Some("identity"),
        ),
        (
            "an identity that says nothing",
            disguised(siege, Shown::Alias, |one| {
                one.parts.last_mut().expect("one").body = Bytes::from_static(b"\xff");
            }),
            Some("identity"),
        ),
        (
            "an identity padded with a field that nobody knows",
            disguised(siege, Shown::Alias, |one| {
                let part = one.parts.last_mut().expect("one");
                let padding: &[u8] = &[0xfa, 0x7f, 3, 1, 2, 3];
                part.body = [&part.body[..], padding].concat().into();
            }),
            Some("identity"),
        ),
        (
            "an identity for an agreement with a name of 64 KiB",
            with_long_name(siege, &alias),
            Some("identity"),
        ),
        (
            "an audience padded with a field that nobody knows",
            disguised(siege, Shown::Alias, |one| {
                let audience = Content::Audience(vec![partner("estmark")]).encode();
                let padding: &[u8] = &[0xfa, 0x7f, 3, 1, 2, 3];
                let body = [&audience.expect("an audience")[..], padding].concat();
                one.header.audience_part = true;
                one.parts.push(PlainPart {
                    class: entente::bulletin::PartClass::Audience,
                    marking: Marking::default(),
                    body: body.into(),
                    salt: None,
                });
            }),
            Some("audience"),
        ),
        (
            "an identity with a marking of its own",
            disguised(siege, Shown::Alias, |one| {
                let part = one.parts.last_mut().expect("one");
                part.marking.tlp = Some(Tlp::AmberStrict);
            }),
            Some("marked_part"),
        ),
        (
            "another partner behind it, signed for by this one",
            bearing(&alias, false, &behind("norland", "cyber", &alias, &own)),
            Some("unknown_key"),
        ),
        (
            "another partner behind it, with its own signature of something else",
            bearing(
                &alias,
                false,
                &Behind {
                    agreement: "another".into(),
                    ..honest.clone()
                },
            ),
            Some("unbound_pseudonym"),
        ),
        (
            "a binding of another key",
            bearing(&stranger, false, &honest),
            Some("unbound_pseudonym"),
        ),
        (
            "signed with another key than it bears",
            {
                let good = disguised(siege, Shown::Alias, |_| {});
                signed(good.header.to_vec(), &good, &stranger)
            },
            Some("envelope_contradicts"),
        ),
        (
            "an honest alias",
            disguised(siege, Shown::Alias, |_| {}),
            None,
        ),
        (
            "an alias again",
            disguised(siege, Shown::Alias, |_| {}),
            None,
        ),
        (
            "an alias under another agreement",
            bearing(&alias, false, &behind("mallory", "another", &alias, &own)),
            Some("pseudonym_reused"),
        ),
        (
            "an alias as if it were used once",
            bearing(&alias, true, &honest),
            Some("pseudonym_reused"),
        ),
        ("a key of single use", once, None),
        (
            "a key of single use again",
            bearing(&once_key, true, &bound_once),
            Some("pseudonym_reused"),
        ),
        (
            "a key of single use as an alias",
            bearing(&once_key, false, &bound_once),
            Some("pseudonym_reused"),
        ),
    ];
    let session = siege.session().await;
    let (mut send, receive) = session.connection.open_bi().await.expect("a stream");
    let mut reader = FrameReader::new(receive, MAX_FRAME_BYTES);
    for (sequence, (name, bulletin, expected)) in (1..).zip(cases) {
        let rejected = submit(&mut send, &mut reader, sequence, bulletin).await;
        let code = rejected.map(|rejected| rejected.refusal.code);
        if code.as_deref() != expected {
            siege
                .wrong
                .push(format!("{name}: {code:?} instead of {expected:?}"));
        }
        siege.count += 1;
    }
}
