//! First frames and later ones that do not belong.

#![allow(clippy::wildcard_imports, reason = "one table, in five files")]

use super::*;

/// First frames and later ones that do not belong.
pub(super) async fn rude_sessions(siege: &mut Siege) {
    let hello = Siege::hello();
    let framed = |hello: Hello| {
        let frame = encode(&Frame::Hello(hello));
        [
            &u32::try_from(frame.len()).expect("small").to_be_bytes()[..],
            &frame,
        ]
        .concat()
    };
    let raw = |length: u32, bytes: &[u8]| [&length.to_be_bytes()[..], bytes].concat();
    let hour = Duration::from_hours(1);
    let ahead = LaneAck {
        precedence: entente::bulletin::Precedence::Flash,
        up_to: 7,
        chain: Digest::of(b"chain"),
    };
    let first: Vec<(&str, Vec<u8>, &str)> = vec![
        ("garbage", raw(4, &[0xff; 4]), "malformed_frame"),
        ("an empty frame", raw(0, b""), "malformed_frame"),
        ("half a frame", raw(100, b"half"), "truncated"),
        ("half a length", vec![0, 0], "truncated"),
        ("a greeting of 4 GiB", raw(u32::MAX, b""), "frame_too_large"),
        (
            "a greeting of 100 KiB",
            raw(100 * 1024, &vec![7; 100 * 1024]),
            "frame_too_large",
        ),
        ("silence", vec![], "no_hello"),
        (
            "not a greeting",
            {
                let frame = encode(&Frame::Goodbye {
                    reason: "no".into(),
                });
                raw(u32::try_from(frame.len()).expect("small"), &frame)
            },
            "no_hello",
        ),
        (
            "no version",
            framed(Hello {
                versions: vec![],
                ..hello.clone()
            }),
            "unsupported_version",
        ),
        (
            "a later version",
            framed(Hello {
                versions: vec![2, 9],
                ..hello.clone()
            }),
            "unsupported_version",
        ),
        (
            "a clock that is late",
            framed(Hello {
                time: now().saturating_sub(hour),
                ..hello.clone()
            }),
            "clock_skew",
        ),
        (
            "a clock that is early",
            framed(Hello {
                time: now().saturating_add(hour),
                ..hello.clone()
            }),
            "clock_skew",
        ),
        (
            "another ledger",
            framed(Hello {
                ledger: Some(LedgerId(Digest::of(b"x"))),
                ..hello.clone()
            }),
            "other_ledger",
        ),
        (
            "tiny limits",
            framed(Hello {
                limits: Limits {
                    frame_bytes: 9,
                    ..Limits::OURS
                },
                ..hello.clone()
            }),
            "limits",
        ),
        (
            "what was never sent",
            framed(Hello {
                resume: vec![ahead],
                ..hello.clone()
            }),
            "resume_ahead",
        ),
    ];
    let identity = siege.identity("mallory");
    for (name, bytes, expected) in first {
        let connection = siege.connect(Some(&identity), ALPN).await.expect(name);
        let (mut send, _receive) = connection.open_bi().await.expect(name);
        send.write_all(&bytes).await.expect(name);
        send.finish().expect(name);
        let code = closed_with(&connection).await;
        if code != expected {
            siege
                .wrong
                .push(format!("{name}: {code} instead of {expected}"));
        }
        siege.count += 1;
    }

    let ack = |recipient: &str, ledger: LedgerId, lanes: Vec<LaneAck>, key: &SecretKey| {
        let ack = Ack {
            ledger,
            recipient: partner(recipient),
            lanes,
            time: now(),
        };
        Frame::Acknowledge(SignedAck::sign(ack, key).expect("signed"))
    };
    let stranger = SecretKey::from_seed([9; 32]).expect("a key");
    let ledger = siege.ledger();
    let later: Vec<(&str, Frame, &str)> = vec![
        ("a second greeting", Frame::Hello(hello), "unexpected_frame"),
        (
            "a refusal of the node's",
            Frame::Refuse(Refusal::new("x", "y")),
            "unexpected_frame",
        ),
        (
            "a submission on the control stream",
            Frame::Submit {
                sequence: 1,
                bulletin: Ok(Box::new(sealed(siege))),
            },
            "unexpected_frame",
        ),
        (
            "an acknowledgement for another",
            ack("norland", ledger, vec![], &siege.mallory),
            "ack_not_recipient",
        ),
        (
            "an acknowledgement of what was never sent",
            ack("mallory", ledger, vec![ahead], &siege.mallory),
            "bad_acknowledgement",
        ),
        (
            "an acknowledgement for another ledger",
            ack(
                "mallory",
                LedgerId(Digest::of(b"x")),
                vec![],
                &siege.mallory,
            ),
            "ack_other_ledger",
        ),
        (
            "an acknowledgement under a strange key",
            ack("mallory", ledger, vec![], &stranger),
            "ack_unknown_key",
        ),
    ];
    for (name, frame, expected) in later {
        let mut session = siege.session().await;
        write_frame(&mut session.send, &encode(&frame))
            .await
            .expect(name);
        let code = closed_with(&session.connection).await;
        if code != expected {
            siege
                .wrong
                .push(format!("{name}: {code} instead of {expected}"));
        }
        siege.count += 1;
    }
    let mut session = siege.session().await;
    session
        .send
        .write_all(&u32::MAX.to_be_bytes())
        .await
        .expect("sent");
    assert_eq!(closed_with(&session.connection).await, "frame_too_large");
    siege.count += 1;
    let mut tampered = {
        let Frame::Acknowledge(ack) = ack("mallory", ledger, vec![], &siege.mallory) else {
            unreachable!()
        };
        ack
    };
    tampered.signature.bytes[5] ^= 1;
    let mut session = siege.session().await;
    write_frame(&mut session.send, &encode(&Frame::Acknowledge(tampered)))
        .await
        .expect("sent");
    assert_eq!(closed_with(&session.connection).await, "ack_bad_signature");
    siege.count += 1;
    // Out of order, and more than may wait.
    let mut session = siege.session().await;
    let frame = Frame::Submit {
        sequence: 2,
        bulletin: Ok(Box::new(sealed(siege))),
    };
    let (mut send, _receive) = session.connection.open_bi().await.expect("a stream");
    write_frame(&mut send, &encode(&frame)).await.expect("sent");
    assert_eq!(closed_with(&session.connection).await, "out_of_order");
    session.send.finish().ok();
    siege.count += 1;
    // More streams than may be open: the broker does not answer for them, and holds no memory.
    let session = siege.session().await;
    for _ in 0..16 {
        let opened = tokio::time::timeout(Duration::from_millis(200), session.connection.open_bi());
        if let Ok(Ok((mut send, _receive))) = opened.await {
            let _ = send.write_all(&[0, 0, 0, 9]).await;
        }
    }
    session.connection.close(0u8.into(), b"");
    siege.count += 1;
}

/// A partner's lanes are held by one node, and by its newest connection.
pub(super) async fn one_node_at_a_time(siege: &mut Siege) {
    let entropy = SystemEntropy::new();
    let older = siege.session().await;
    let newer = siege.session().await;
    assert_eq!(closed_with(&older.connection).await, "replaced");
    let authority = siege.home("mallory").authority().expect("an authority");
    let second = SpiffeId::new(&partner("mallory"), "/node/2").expect("a SPIFFE ID");
    let issued = authority.issue(&second, now(), Duration::from_hours(24), &entropy);
    let issued = issued.expect("a certificate");
    let second = Identity::of(issued.certificate.as_bytes(), issued.key.as_bytes());
    let connection = siege.connect(Some(&second), ALPN).await;
    assert_eq!(
        closed_with(&connection.expect("a connection")).await,
        "lanes_taken"
    );
    assert!(newer.connection.close_reason().is_none());
    newer.connection.close(0u8.into(), b"");
    // Where the one is gone, the other takes its place.
    let served = until("the other node's turn", Duration::from_secs(10), || async {
        let connection = siege.connect(Some(&second), ALPN).await.ok()?;
        Siege::greet(connection).await
    });
    let served = served.await.expect("in its place");
    served.connection.close(0u8.into(), b"");
    siege.count += 3;
}
