//! Records as a broker writes them: those that accept a bulletin at once, without messages in between.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use super::pieces::FORMAT;
use super::{Written, digest_bytes, onward_to_wire, write_awaited, write_bond, write_fact};
use crate::agreement::ClauseRef;
use crate::bulletin::{Part, Sealed};
use crate::clock::Timestamp;
use crate::ledger::commitment::{Commitment, Piece, PieceKind, PieceTree};
use crate::ledger::record::{Accepted, Fact, LaneRelease};
use crate::proto::{self, Fields};

/// The fields' numbers in ledger.proto.
mod tag {
    pub(super) const RECORD_FORMAT: u32 = 1;
    pub(super) const RECORD_TIME: u32 = 2;
    pub(super) const RECORD_SEED: u32 = 3;
    pub(super) const RECORD_FACT: u32 = 4;
    pub(super) const RECORD_OPENINGS: u32 = 5;
    pub(super) const FACT_TIME: u32 = 1;
    pub(super) const FACT_ACCEPTED: u32 = 9;
    pub(super) const ACCEPTED_HEADER: u32 = 1;
    pub(super) const ACCEPTED_BURST: u32 = 2;
    pub(super) const ACCEPTED_PARTS: u32 = 3;
    pub(super) const ACCEPTED_AUDIENCE: u32 = 4;
    pub(super) const ACCEPTED_AUDIENCE_SALT: u32 = 5;
    pub(super) const ACCEPTED_MENTIONS: u32 = 6;
    pub(super) const ACCEPTED_IDENTITY: u32 = 7;
    pub(super) const ACCEPTED_IDENTITY_SALT: u32 = 8;
    pub(super) const ACCEPTED_AWAITED: u32 = 9;
    pub(super) const ACCEPTED_BONDS: u32 = 10;
    pub(super) const MENTION_PART: u32 = 1;
    pub(super) const MENTION_NAMES: u32 = 2;
    pub(super) const RELEASE_BULLETIN: u32 = 1;
    pub(super) const RELEASE_RECIPIENT: u32 = 2;
    pub(super) const RELEASE_LANE_NUMBER: u32 = 3;
    pub(super) const RELEASE_CLAUSES: u32 = 4;
    pub(super) const RELEASE_WITHHELD: u32 = 5;
    pub(super) const RELEASE_ONWARD: u32 = 6;
    pub(super) const CLAUSE_AGREEMENT: u32 = 1;
    pub(super) const CLAUSE_NAME: u32 = 2;
    pub(super) const CLAUSE_VERSION: u32 = 3;
    pub(super) const CLAUSE_CLAUSE: u32 = 4;
    pub(super) const SUMMARY_TIME: u32 = 1;
    pub(super) const SUMMARY_ID: u32 = 2;
    pub(super) const SUMMARY_BULLETIN: u32 = 3;
    pub(super) const SUMMARY_ACCEPTED: u32 = 4;
    pub(super) const TALLY_BULLETIN: u32 = 1;
    pub(super) const TALLY_RELEASED: u32 = 2;
    pub(super) const TALLY_HELD: u32 = 3;
    pub(super) const BODIES_PARTS: u32 = 1;
    pub(super) const BODY_SALT: u32 = 1;
    pub(super) const BODY_BODY: u32 = 2;
}

/// What a fact has beside a header and its parts, about; and what a part has.
const RECORD: usize = 512;
const PART: usize = 64;
/// Room for summary and tally.
const ABOUT: usize = 160;

/// A record encoded, with the commitment to it.
pub(in crate::ledger) struct Encoded {
    pub(in crate::ledger) bytes: Bytes,
    pub(in crate::ledger) commitment: Commitment,
}

/// Encodes a record under a seed. `out` is room to write in, to be given again for the next.
pub(in crate::ledger) fn encode(
    time: Timestamp,
    seed: [u8; 32],
    fact: &Fact,
    releases: &[LaneRelease],
    out: &mut Vec<u8>,
) -> Encoded {
    let length = length(fact);
    out.clear();
    let mut record = Fields::at_end_of(out);
    record.number(tag::RECORD_FORMAT, FORMAT.into());
    record.signed(tag::RECORD_TIME, time.micros());
    record.bytes(tag::RECORD_SEED, &seed);
    let whole = record.placed(tag::RECORD_FACT, length, |fields| {
        put_fact(time, fact, fields);
    });
    let openings: SmallVec<[Range<usize>; 8]> = releases
        .iter()
        .map(|one| {
            record.placed(tag::RECORD_OPENINGS, 0, |fields| {
                put_release(one, fields);
            })
        })
        .collect();
    let commitment = {
        // The pieces are where they were written.
        let piece = |kind, bytes| Piece { kind, bytes };
        let about = About::of(time, fact, releases);
        let mut pieces: SmallVec<[Piece<'_>; 8]> = SmallVec::new();
        pieces.push(piece(PieceKind::Fact, &out[whole]));
        pieces.extend(about.iter().flat_map(About::pieces));
        let openings = openings.into_iter();
        pieces.extend(openings.map(|at| piece(PieceKind::Release, &out[at])));
        PieceTree::new(&seed, &pieces).commitment()
    };
    // Just as much as it is: it stays in memory for some time.
    let bytes = Bytes::copy_from_slice(out);
    Encoded { bytes, commitment }
}

/// Bytes of a fact, about.
fn length(fact: &Fact) -> usize {
    match fact {
        Fact::Accepted(accepted) => {
            let for_broker = accepted.audience.iter().chain(&accepted.identity);
            let for_broker: usize = for_broker.map(|part| part.body.len()).sum();
            RECORD + accepted.header_bytes.len() + accepted.parts.len() * PART + for_broker
        }
        _ => RECORD,
    }
}

/// The bytes of a fact, which its commitment covers. Those of the genesis hash to the ledger's id.
pub(in crate::ledger) fn fact_bytes(time: Timestamp, fact: &Fact) -> Bytes {
    let mut out = Vec::with_capacity(length(fact));
    put_fact(time, fact, &mut Fields::at_end_of(&mut out));
    out.into()
}

fn put_fact(time: Timestamp, fact: &Fact, fields: &mut Fields<'_>) {
    // Cover has none, so that it is the same bytes at any time.
    if !matches!(fact, Fact::Cover) {
        fields.signed(tag::FACT_TIME, time.micros());
    }
    match write_fact(fact) {
        Written::AtOnce(accepted) => {
            fields.message_of(tag::FACT_ACCEPTED, length(fact), |fields| {
                put_accepted(accepted, fields);
            });
        }
        Written::Message(message) => {
            let fact = Some(*message);
            fields.encoded(&proto::Fact { time: 0, fact });
        }
    }
}

fn put_accepted(accepted: &Accepted, fields: &mut Fields<'_>) {
    fields.bytes(tag::ACCEPTED_HEADER, &accepted.header_bytes);
    fields.message(tag::ACCEPTED_BURST, |fields| accepted.burst.put(fields));
    for part in &accepted.parts {
        fields.message(tag::ACCEPTED_PARTS, |fields| part.put(fields));
    }
    if let Some(audience) = &accepted.audience {
        fields.bytes(tag::ACCEPTED_AUDIENCE, &audience.body);
        fields.bytes(tag::ACCEPTED_AUDIENCE_SALT, &audience.salt);
    }
    for (part, names) in (0u32..).zip(&accepted.mentions) {
        if !names.is_empty() {
            fields.message(tag::ACCEPTED_MENTIONS, |fields| {
                fields.number(tag::MENTION_PART, part.into());
                fields.packed(tag::MENTION_NAMES, names);
            });
        }
    }
    if let Some(identity) = &accepted.identity {
        fields.bytes(tag::ACCEPTED_IDENTITY, &identity.body);
        fields.bytes(tag::ACCEPTED_IDENTITY_SALT, &identity.salt);
    }
    for one in &accepted.awaited {
        let awaited = write_awaited(one);
        fields.message(tag::ACCEPTED_AWAITED, |fields| fields.encoded(&awaited));
    }
    for one in &accepted.bonds {
        let bond = write_bond(one);
        fields.message(tag::ACCEPTED_BONDS, |fields| fields.encoded(&bond));
    }
}

fn put_release(release: &LaneRelease, fields: &mut Fields<'_>) {
    let LaneRelease {
        bulletin,
        number,
        release,
    } = release;
    fields.bytes(tag::RELEASE_BULLETIN, bulletin.as_bytes());
    let recipient = release.recipient.as_str();
    fields.bytes(tag::RELEASE_RECIPIENT, recipient.as_bytes());
    fields.number(tag::RELEASE_LANE_NUMBER, *number);
    for clause in &release.clauses {
        fields.message(tag::RELEASE_CLAUSES, |fields| put_clause(clause, fields));
    }
    fields.packed(tag::RELEASE_WITHHELD, &release.withheld);
    fields.signed(tag::RELEASE_ONWARD, onward_to_wire(release.onward));
}

/// Summary and tally of a record about a bulletin, one after the other.
pub(super) struct About {
    bytes: Vec<u8>,
    /// Where the tally begins.
    tally: usize,
}

impl About {
    /// `None` where the record is about no bulletin.
    pub(super) fn of(time: Timestamp, fact: &Fact, releases: &[LaneRelease]) -> Option<Self> {
        let accepted = match fact {
            Fact::Accepted(accepted) => Some((accepted.header.id, accepted.header_hash())),
            _ => None,
        };
        let (id, bulletin) = accepted.or_else(|| fact.lets_go())?;
        let held = releases.iter().filter(|one| one.release.held).count();
        let released = releases.len() - held;
        let mut bytes = Vec::with_capacity(ABOUT);
        let mut summary = Fields::at_end_of(&mut bytes);
        summary.signed(tag::SUMMARY_TIME, time.micros());
        summary.bytes(tag::SUMMARY_ID, &id.0);
        summary.bytes(tag::SUMMARY_BULLETIN, bulletin.as_bytes());
        summary.number(tag::SUMMARY_ACCEPTED, accepted.is_some().into());
        let tally = bytes.len();
        let mut fields = Fields::at_end_of(&mut bytes);
        fields.bytes(tag::TALLY_BULLETIN, bulletin.as_bytes());
        fields.number(tag::TALLY_RELEASED, released as u64);
        fields.number(tag::TALLY_HELD, held as u64);
        Some(Self { bytes, tally })
    }

    /// Both, in their order.
    pub(super) fn pieces(&self) -> [Piece<'_>; 2] {
        let (summary, tally) = self.bytes.split_at(self.tally);
        [(PieceKind::Summary, summary), (PieceKind::Tally, tally)]
            .map(|(kind, bytes)| Piece { kind, bytes })
    }
}

/// A clause as it travels.
pub fn clause_to_wire(clause: &ClauseRef) -> proto::ClauseRef {
    proto::ClauseRef {
        agreement: digest_bytes(&clause.agreement.0),
        name: clause.name.to_string(),
        version: clause.version,
        clause: clause.clause.to_string(),
    }
}

/// The same, written at once.
pub(crate) fn put_clause(clause: &ClauseRef, fields: &mut Fields<'_>) {
    fields.bytes(tag::CLAUSE_AGREEMENT, clause.agreement.0.as_bytes());
    fields.bytes(tag::CLAUSE_NAME, clause.name.as_bytes());
    fields.number(tag::CLAUSE_VERSION, clause.version);
    fields.bytes(tag::CLAUSE_CLAUSE, clause.clause.as_bytes());
}

/// The bodies of a bulletin's parts, as they are stored beside its record.
pub(in crate::ledger) fn bodies(sealed: &Sealed) -> Bytes {
    let length = |part: &Part| match part {
        Part::Open(part) => PART + part.body.len(),
        Part::Withheld(_) => 0,
    };
    let mut out = Vec::with_capacity(sealed.parts.iter().map(|part| length(part) + 2).sum());
    let mut bodies = Fields::at_end_of(&mut out);
    for part in &sealed.parts {
        bodies.message_of(tag::BODIES_PARTS, length(part), |fields| {
            if let Part::Open(part) = part {
                fields.bytes(tag::BODY_SALT, &part.salt);
                fields.bytes(tag::BODY_BODY, &part.body);
            }
        });
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::agreement::{AgreementId, ClauseName, Onward};
    use crate::bulletin::{
        BulletinId, Draft, Header, Marking, OpenPart, PartDigest, Precedence, Tlp, seal,
    };
    use crate::clock::SeededEntropy;
    use crate::decision::Release;
    use crate::ledger::backfill::{Backfilled, BackfilledBulletin};
    use crate::ledger::onward::{Awaited, Bond};
    use crate::ledger::record::SnapshotTaken;
    use crate::partner::PartnerId;
    use crate::proof::{Digest, SecretKey};

    fn digest() -> impl Strategy<Value = Digest> {
        any::<[u8; 32]>().prop_map(Digest)
    }

    fn id() -> impl Strategy<Value = BulletinId> {
        any::<[u8; 16]>().prop_map(BulletinId)
    }

    fn partner() -> impl Strategy<Value = PartnerId> {
        "[a-z]{1,30}".prop_map(|name| format!("{name}.example").parse().unwrap())
    }

    fn onward() -> impl Strategy<Value = Onward> {
        prop::sample::select(
            [
                Onward::None,
                Onward::OriginatorConsent,
                Onward::WithinAgreement,
            ]
            .as_slice(),
        )
    }

    fn open_part() -> impl Strategy<Value = OpenPart> {
        let tlp = prop::option::of(prop::sample::select(Tlp::ALL));
        // Lengths around those that take one byte more.
        let length = prop_oneof![8 => 0usize..300, 1 => 16_200usize..16_500];
        let body = length.prop_flat_map(|length| prop::collection::vec(any::<u8>(), length));
        (any::<[u8; 32]>(), "[a-z]{0,200}", tlp, body).prop_map(|(salt, class, tlp, body)| {
            OpenPart {
                salt,
                class,
                marking: Marking { tlp, level: None },
                body: body.into(),
            }
        })
    }

    fn accepted() -> impl Strategy<Value = Accepted> {
        let key = SecretKey::from_seed([7; 32]).unwrap();
        let draft = Draft::from_toml(
            "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
             \"ip\"\nvalue = \"192.0.2.1\"\n",
        );
        let originator: PartnerId = "norland.example".parse().unwrap();
        let entropy = SeededEntropy::new(1);
        let unsealed = draft
            .unwrap()
            .into_unsealed(&originator, Timestamp::MIN, &entropy);
        let sealed = seal(vec![unsealed.unwrap()], &key, &entropy).unwrap();
        let sealed = sealed[0].clone();
        let header = Header::from_bytes(&sealed.header).unwrap();
        let awaited = (partner(), id(), partner()).prop_map(|(recipient, about, by)| Awaited {
            recipient,
            about,
            by,
        });
        let bond = (id(), digest(), onward(), prop::option::of(partner())).prop_map(
            |(about, agreement, onward, except)| Bond {
                about,
                agreement: AgreementId(agreement),
                clause: "feed".into(),
                onward,
                since: Timestamp::MAX,
                except,
            },
        );
        let few = |most| prop::collection::vec(digest(), 0..most);
        (
            few(5),
            prop::collection::vec(open_part(), 0..6),
            prop::collection::vec(prop::collection::vec(any::<u32>(), 0..60), 0..6),
            (prop::option::of(open_part()), prop::option::of(open_part())),
            prop::collection::vec(awaited, 0..3),
            prop::collection::vec(bond, 0..3),
        )
            .prop_map(
                move |(path, parts, mentions, (audience, identity), awaited, bonds)| {
                    let mut burst = sealed.burst.clone();
                    burst.index = u32::try_from(path.len()).unwrap();
                    burst.path = path;
                    Accepted {
                        header_bytes: sealed.header.clone(),
                        header_hash: sealed.header_hash(),
                        header: header.clone(),
                        originator: originator.clone(),
                        disguise: None,
                        identity,
                        burst,
                        parts: parts.iter().map(OpenPart::digest).collect(),
                        mentions,
                        audience,
                        awaited,
                        bonds,
                    }
                },
            )
    }

    fn release() -> impl Strategy<Value = LaneRelease> {
        let clause =
            (digest(), "[a-z]{0,20}", any::<u64>()).prop_map(|(agreement, name, version)| {
                ClauseRef::new(ClauseName {
                    agreement: AgreementId(agreement),
                    name: name.as_str().into(),
                    version,
                    clause: "feed".into(),
                })
            });
        (
            digest(),
            prop_oneof![Just(0), any::<u64>()],
            partner(),
            prop::collection::vec(clause, 0..4),
            prop::collection::vec(any::<u32>(), 0..40),
            onward(),
        )
            .prop_map(|(bulletin, number, recipient, clauses, withheld, onward)| {
                let held = number == 0;
                let release = Release {
                    recipient,
                    clauses: clauses.into(),
                    withheld: withheld.into(),
                    onward,
                    held,
                };
                LaneRelease {
                    bulletin,
                    number,
                    release,
                }
            })
    }

    fn part_to_wire(part: &PartDigest) -> proto::PartDigest {
        let tlp = part.marking.tlp.map(|tlp| proto::Marking {
            tlp: tlp.number(),
            level: 0,
        });
        proto::PartDigest {
            class: part.class.clone(),
            marking: tlp,
            length: part.length,
            body: digest_bytes(&part.body),
        }
    }

    fn to_wire(time: Timestamp, accepted: &Accepted) -> proto::Fact {
        let body = |part: &Option<OpenPart>| part.clone().map_or_else(Bytes::new, |part| part.body);
        let salt = |part: &Option<OpenPart>| {
            part.clone()
                .map_or_else(Vec::new, |part| part.salt.to_vec())
        };
        let mentions = (0u32..).zip(&accepted.mentions);
        let mentions = mentions.filter(|(_, names)| !names.is_empty());
        let accepted = proto::Accepted {
            header: accepted.header_bytes.clone(),
            burst: Some(accepted.burst.to_wire()),
            parts: accepted.parts.iter().map(part_to_wire).collect(),
            mentions: mentions
                .map(|(part, names)| proto::Mention {
                    part,
                    names: names.clone(),
                })
                .collect(),
            audience: body(&accepted.audience),
            audience_salt: salt(&accepted.audience).into(),
            identity: body(&accepted.identity),
            identity_salt: salt(&accepted.identity).into(),
            awaited: accepted.awaited.iter().map(write_awaited).collect(),
            bonds: accepted.bonds.iter().map(write_bond).collect(),
        };
        let fact = Some(proto::fact::Fact::Accepted(accepted));
        proto::Fact {
            time: time.micros(),
            fact,
        }
    }

    fn release_to_wire(one: &LaneRelease) -> proto::Release {
        proto::Release {
            bulletin: digest_bytes(&one.bulletin),
            recipient: one.release.recipient.to_string(),
            lane_number: one.number,
            clauses: one.release.clauses.iter().map(clause_to_wire).collect(),
            withheld: one.release.withheld.to_vec(),
            onward: onward_to_wire(one.release.onward),
        }
    }

    /// Facts of several forms: about bulletins and about none, with a time of their own and without.
    fn fact() -> impl Strategy<Value = Fact> {
        let given = (id(), digest(), prop::sample::select(Precedence::ALL));
        let given = given.prop_map(|(id, header, precedence)| BackfilledBulletin {
            id,
            header,
            precedence,
        });
        let backfilled = (digest(), any::<u64>(), prop::option::of(given));
        prop_oneof![
            4 => accepted().prop_map(|accepted| Fact::Accepted(Box::new(accepted))),
            2 => backfilled.prop_map(|(agreement, up_to, bulletin)| Fact::Backfilled(Backfilled {
                agreement: AgreementId(agreement),
                up_to,
                bulletin,
            })),
            1 => (any::<u64>(), digest(), digest()).prop_map(|(size, root, digest)| {
                Fact::SnapshotTaken(SnapshotTaken { size, root, digest })
            }),
            1 => prop::sample::select(vec![Fact::Tick, Fact::Cover]),
        ]
    }

    fn fact_to_wire(time: Timestamp, fact: &Fact) -> proto::Fact {
        let message = match write_fact(fact) {
            Written::AtOnce(accepted) => return to_wire(time, accepted),
            Written::Message(message) => message,
        };
        let timeless = matches!(fact, Fact::Cover);
        proto::Fact {
            time: if timeless { 0 } else { time.micros() },
            fact: Some(*message),
        }
    }

    /// Summary and tally of a record about a bulletin.
    fn about(time: Timestamp, fact: &Fact, releases: &[LaneRelease]) -> Option<[Vec<u8>; 2]> {
        let (id, header, accepted) = match fact {
            Fact::Accepted(one) => (one.header.id, one.header_hash(), true),
            Fact::Backfilled(one) => (one.bulletin?.id, one.bulletin?.header, false),
            _ => return None,
        };
        let held = releases.iter().filter(|one| one.release.held).count();
        let summary = proto::Summary {
            time: time.micros(),
            id: Bytes::copy_from_slice(&id.0),
            bulletin: digest_bytes(&header),
            accepted,
        };
        let tally = proto::Tally {
            bulletin: digest_bytes(&header),
            released: u32::try_from(releases.len() - held).unwrap(),
            held: u32::try_from(held).unwrap(),
        };
        Some([summary.encode_to_vec(), tally.encode_to_vec()])
    }

    proptest! {
        #[test]
        fn a_record_is_written_as_its_messages_are(
            micros in prop_oneof![1 => Just(0), 9 => 0..=Timestamp::MAX.micros()],
            seed in any::<[u8; 32]>(),
            fact in fact(),
            releases in prop::collection::vec(release(), 0..9),
        ) {
            let time = Timestamp::from_micros(micros).expect("a time");
            let openings: Vec<Bytes> = releases
                .iter()
                .map(|one| release_to_wire(one).encode_to_vec().into())
                .collect();
            let expected = proto::Record {
                format: FORMAT,
                time: time.micros(),
                seed: Bytes::copy_from_slice(&seed),
                fact: fact_to_wire(time, &fact).encode_to_vec().into(),
                openings: openings.clone(),
            };
            let about = about(time, &fact, &releases);
            let piece = |kind, bytes| Piece { kind, bytes };
            let mut pieces = vec![piece(PieceKind::Fact, expected.fact.as_ref())];
            if let Some([summary, tally]) = &about {
                pieces.push(piece(PieceKind::Summary, summary));
                pieces.push(piece(PieceKind::Tally, tally));
            }
            pieces.extend(openings.iter().map(|one| piece(PieceKind::Release, one)));
            // What was written in the same room before leaves nothing there.
            let mut out = vec![7; 100];
            let written = encode(time, seed, &fact, &releases, &mut out);
            prop_assert_eq!(&written.bytes, &expected.encode_to_vec());
            prop_assert_eq!(written.commitment, PieceTree::new(&seed, &pieces).commitment());
            prop_assert_eq!(fact_bytes(time, &fact), expected.fact);
        }

        #[test]
        fn bodies_written_at_once_are_those_of_their_message(
            parts in prop::collection::vec(prop::option::of(open_part()), 0..6),
            sealed in accepted(),
        ) {
            let body = |part: &Option<OpenPart>| part.as_ref().map_or_else(
                proto::Body::default,
                |part| proto::Body {
                    salt: Bytes::copy_from_slice(&part.salt),
                    body: part.body.clone(),
                },
            );
            let expected = proto::Bodies { parts: parts.iter().map(body).collect() };
            let withheld = || Part::Withheld(Digest([1; 32]));
            let sealed = Sealed {
                id: sealed.header.id,
                precedence: sealed.header.precedence,
                header: sealed.header_bytes,
                burst: sealed.burst,
                parts: parts.into_iter().map(|one| one.map_or_else(withheld, Part::Open)).collect(),
            };
            prop_assert_eq!(bodies(&sealed), expected.encode_to_vec());
        }
    }
}
