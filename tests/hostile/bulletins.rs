//! Bulletins that are not what they should be.

#![allow(clippy::wildcard_imports, reason = "one table, in five files")]

use super::*;

pub(super) fn unsealed() -> Unsealed {
    let draft = draft().into_unsealed(&partner("mallory"), now(), &SystemEntropy::new());
    draft.expect("a bulletin")
}

pub(super) fn sealed(siege: &Siege) -> Sealed {
    seal(vec![unsealed()], &siege.mallory, &SystemEntropy::new())
        .expect("sealed")
        .remove(0)
}

/// Signs whatever bytes as a header, in a burst of one.
pub(super) fn signed(header: Vec<u8>, like: &Sealed, key: &SecretKey) -> Sealed {
    let leaf = merkle::leaf_hash(&[b"entente/bulletin/v1\n", Digest::of(&header).as_bytes()]);
    let payload = [&1u32.to_be_bytes()[..], leaf.as_bytes()].concat();
    let mut sealed = like.clone();
    sealed.header = header.into();
    sealed.burst.size = 1;
    sealed.burst.index = 0;
    sealed.burst.path = vec![];
    sealed.burst.signature = key.sign(PayloadType::Burst, &payload).expect("signed");
    sealed
}

/// Changes a header and signs it as its originator would.
fn with_header(siege: &Siege, change: impl FnOnce(&mut Header)) -> Sealed {
    let sealed = sealed(siege);
    let mut header = Header::from_bytes(&sealed.header).expect("a header");
    change(&mut header);
    let mut forged = signed(header.to_bytes().to_vec(), &sealed, &siege.mallory);
    (forged.id, forged.precedence) = (header.id, header.precedence);
    forged
}

/// Changes the parts, with a root that covers them.
fn with_parts(siege: &Siege, change: impl FnOnce(&mut Vec<Part>)) -> Sealed {
    let mut parts = sealed(siege).parts;
    change(&mut parts);
    let leaves: Vec<Digest> = parts.iter().map(Part::leaf).collect();
    let count = u32::try_from(parts.len()).expect("few");
    let mut forged = with_header(siege, |header| {
        header.parts_root = merkle::root(&leaves);
        header.part_count = count;
    });
    forged.parts = parts;
    forged
}

fn part(class: &str, body: Vec<u8>) -> Part {
    Part::Open(OpenPart {
        salt: [3; 32],
        class: class.into(),
        marking: Marking::default(),
        body: body.into(),
    })
}

/// Bulletins that are not what they should be; published on a session of Mallory's own.
pub(super) async fn forged_bulletins(siege: &mut Siege) {
    let good = sealed(siege);
    let stranger = SecretKey::from_seed([9; 32]).expect("a key");
    let day = Duration::from_hours(24);
    let mut cases: Vec<(&str, Sealed, &str)> = Vec::new();
    let mut change = |name, expected, change: &dyn Fn(&mut Sealed)| {
        let mut one = sealed(siege);
        change(&mut one);
        cases.push((name, one, expected));
    };
    change("another id outside", "envelope_contradicts", &|one| {
        one.id.0[0] ^= 1;
    });
    change(
        "another precedence outside",
        "envelope_contradicts",
        &|one| {
            one.precedence = entente::bulletin::Precedence::Flash;
        },
    );
    change("a bad signature", "bad_signature", &|one| {
        one.burst.signature.bytes[0] ^= 1;
    });
    change("a changed header", "bad_signature", &|one| {
        let mut bytes = one.header.to_vec();
        // The source's credibility, unsigned: its tag is 18, its value follows.
        bytes.extend([0x90, 0x01, 0x02]);
        one.header = bytes.into();
    });
    change(
        "another key named outside",
        "envelope_contradicts",
        &|one| {
            one.burst.signature.key_id = KeyId(Digest::of(b"key"));
        },
    );
    change("a burst of three", "not_in_burst", &|one| {
        one.burst.size = 3;
    });
    change("a burst of four billion", "not_in_burst", &|one| {
        one.burst.size = 1 << 31;
    });
    change("a place outside the burst", "not_in_burst", &|one| {
        one.burst.index = 9;
    });
    change("a path too long", "count", &|one| {
        one.burst.path = vec![Digest([0; 32]); 40];
    });
    change("a changed body", "wrong_root", &|one| {
        if let Part::Open(part) = &mut one.parts[0] {
            part.body = Bytes::from_static(b"changed");
        }
    });
    change("a changed class", "wrong_root", &|one| {
        if let Part::Open(part) = &mut one.parts[0] {
            part.class = "action".into();
        }
    });
    change("a changed salt", "wrong_root", &|one| {
        if let Part::Open(part) = &mut one.parts[0] {
            part.salt[0] ^= 1;
        }
    });
    change("parts in another order", "wrong_root", &|one| {
        one.parts.reverse();
    });
    change("a part left out", "envelope_contradicts", &|one| {
        one.parts.pop();
    });
    change(
        "a part of another bulletin",
        "envelope_contradicts",
        &|one| {
            let strange = one.parts[0].clone();
            one.parts.push(strange);
        },
    );
    change("no parts", "count", &|one| one.parts.clear());
    change("a part withheld from the broker", "part_missing", &|one| {
        one.parts[0] = Part::Withheld(one.parts[0].leaf());
    });
    change("no header", "unknown_format", &|one| {
        *one = Sealed {
            header: Bytes::new(),
            ..one.clone()
        }
    });
    change("no header worth the name", "malformed", &|one| {
        one.header = Bytes::from_static(&[0xff; 9]);
    });
    change("a header of 100 KiB", "too_large", &|one| {
        one.header = vec![0; 100 * 1024].into();
    });
    let extended = |field: &[u8]| signed([&good.header[..], field].concat(), &good, &siege.mallory);
    cases.extend([
        (
            "a critical field of tomorrow",
            extended(&[0xa0, 0x38, 1]),
            "unknown_critical_field",
        ),
        (
            "a format of tomorrow",
            extended(&[0x08, 2]),
            "unknown_format",
        ),
        (
            "a stranger's key",
            signed(good.header.to_vec(), &good, &stranger),
            "envelope_contradicts",
        ),
        (
            "a stranger's key, named",
            {
                let mut header = Header::from_bytes(&good.header).expect("a header");
                header.signing_key = stranger.public_key().id();
                signed(header.to_bytes().to_vec(), &good, &stranger)
            },
            "unknown_key",
        ),
        (
            "in another's name",
            with_header(siege, |header| {
                header.originator = partner("norland").into();
            }),
            "unknown_key",
        ),
        (
            "of tomorrow",
            with_header(siege, |header| header.created = now().saturating_add(day)),
            "from_the_future",
        ),
        (
            "of yesterday",
            with_header(siege, |header| {
                header.valid_from = now().saturating_sub(2 * day);
                header.valid_until = now().saturating_sub(day);
            }),
            "expired",
        ),
        (
            "over before it began",
            with_header(siege, |header| header.valid_until = header.valid_from),
            "invalid_field",
        ),
        (
            "about nothing",
            with_header(siege, |header| header.kinds.clear()),
            "count",
        ),
        (
            "of no topic",
            with_header(siege, |header| header.topics.clear()),
            "count",
        ),
        (
            "of one topic 65 times",
            with_header(siege, |header| {
                header.topics = vec![header.topics[0]; 65];
            }),
            "invalid_field",
        ),
        (
            "that takes back itself",
            with_header(siege, |header| {
                let relation = entente::bulletin::Relation::Retracts;
                header.references = vec![entente::bulletin::Reference {
                    relation,
                    bulletin: header.id,
                }];
            }),
            "invalid_field",
        ),
        (
            "an audience that is not there",
            with_header(siege, |header| header.audience_part = true),
            "audience",
        ),
        (
            "an audience that is not announced",
            with_parts(siege, |parts| parts.push(part("audience", vec![]))),
            "audience",
        ),
        (
            "a marking weaker than the whole",
            with_parts(siege, |parts| {
                parts[0] = Part::Open(OpenPart {
                    salt: [3; 32],
                    class: "narrative".into(),
                    marking: Marking {
                        tlp: Some(Tlp::Clear),
                        level: None,
                    },
                    body: Bytes::new(),
                });
            }),
            "weak_marking",
        ),
        (
            "a part of 5 MB",
            with_parts(siege, |parts| {
                parts.push(part("narrative", vec![0; 5_000_000]));
            }),
            "too_large",
        ),
        (
            "a class without a name",
            with_parts(siege, |parts| parts.push(part("", vec![]))),
            "too_large",
        ),
        (
            "20,000 parts",
            with_parts(siege, |parts| *parts = vec![part("source", vec![]); 20_000]),
            "count",
        ),
    ]);
    let session = siege.session().await;
    let (mut send, receive) = session.connection.open_bi().await.expect("a stream");
    let mut reader = FrameReader::new(receive, MAX_FRAME_BYTES);
    let mut sequence = 0;
    for (name, bulletin, expected) in cases {
        sequence += 1;
        let rejected = submit(&mut send, &mut reader, sequence, bulletin).await;
        match rejected {
            Some(rejected) if rejected.refusal.code == expected => {
                assert_eq!(rejected.sequence, sequence);
            }
            other => siege
                .wrong
                .push(format!("{name}: {other:?} instead of {expected}")),
        }
        siege.count += 1;
    }
    // A field that is not critical passes, byte for byte; the same again gets the same promise; the
    // same id with other content never.
    let newer = extended(&[0xc0, 0x3e, 1]);
    sequence += 1;
    assert!(
        submit(&mut send, &mut reader, sequence, newer.clone())
            .await
            .is_none()
    );
    siege.cluster.delivered(newer.id).await.expect("delivered");
    let size = siege.status().await.size;
    sequence += 1;
    assert!(
        submit(&mut send, &mut reader, sequence, newer.clone())
            .await
            .is_none()
    );
    assert_eq!(siege.status().await.size, size, "recorded once");
    let other = with_header(siege, |header| header.id = newer.id);
    sequence += 1;
    let rejected = submit(&mut send, &mut reader, sequence, other)
        .await
        .expect("refused");
    assert_eq!(rejected.refusal.code, "duplicate_id");
    siege.count += 2;
}

pub(super) async fn submit(
    send: &mut SendStream,
    reader: &mut FrameReader<RecvStream>,
    sequence: u64,
    bulletin: Sealed,
) -> Option<Rejected> {
    let frame = Frame::Submit {
        sequence,
        bulletin: Ok(Box::new(bulletin)),
    };
    write_frame(send, &encode(&frame)).await.expect("sent");
    let answer = tokio::time::timeout(PATIENCE, reader.next())
        .await
        .expect("in time");
    match decode(answer.expect("an answer").expect("a frame")).expect("readable") {
        Frame::Rejected(rejected) => Some(rejected),
        Frame::Promise { .. } => None,
        other => panic!("{other:?}"),
    }
}
