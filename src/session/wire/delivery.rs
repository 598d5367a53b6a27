//! Deliveries to and from protobuf, and those of which the envelope is serialized already.

use bytes::Bytes;
use prost::Message;

use super::{Malformed, Read, read_time};
use crate::agreement::{ClauseRef, Onward};
use crate::bulletin::Sealed;
use crate::clock::Timestamp;
use crate::ledger::{
    Inherited, clause_from_wire, clause_to_wire, onward_from_wire, onward_to_wire, put_clause,
};
use crate::proto::{self, Fields};
use crate::session::Delivery;

/// A delivery without its bulletin, whose envelope is serialized already: the same for several recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryAround {
    /// Where it stands in the log.
    pub position: u64,
    /// Position of the record that released it.
    pub released: u64,
    /// Time of the group that accepted it.
    pub time: Timestamp,
    /// The clauses under which it is shared.
    pub clauses: Vec<ClauseRef>,
    /// Whether it may be passed on.
    pub onward: Onward,
    /// What is owed for the clauses under which earlier givers had it.
    pub inherited: Inherited,
}

/// The fields' numbers in session.proto.
mod tag {
    pub(super) const FRAME_DELIVER: u32 = 8;
    pub(super) const DELIVER_NUMBER: u32 = 1;
    pub(super) const DELIVER_DELIVERY: u32 = 2;
    pub(super) const ENVELOPE: u32 = 1;
    pub(super) const POSITION: u32 = 2;
    pub(super) const TIME: u32 = 3;
    pub(super) const CLAUSES: u32 = 4;
    pub(super) const ONWARD: u32 = 5;
    pub(super) const INHERITED: u32 = 6;
    pub(super) const RELEASED: u32 = 7;
}

/// A delivery without its envelope, about.
const AROUND: usize = 128;

/// Appends the bytes of [`Frame::Deliver`], which are those of [`encode`].
///
/// [`Frame::Deliver`]: crate::session::Frame::Deliver
/// [`encode`]: crate::session::encode
pub fn put_delivery(number: u64, around: &DeliveryAround, envelope: &[u8], buffer: &mut Vec<u8>) {
    let about = envelope.len() + AROUND;
    buffer.reserve(about);
    Fields::at_end_of(buffer).message_of(tag::FRAME_DELIVER, about, |deliver| {
        deliver.number(tag::DELIVER_NUMBER, number);
        deliver.message_of(tag::DELIVER_DELIVERY, about, |delivery| {
            delivery.item(tag::ENVELOPE, envelope);
            delivery.number(tag::POSITION, around.position);
            delivery.signed(tag::TIME, around.time.micros());
            for clause in &around.clauses {
                delivery.message(tag::CLAUSES, |fields| put_clause(clause, fields));
            }
            delivery.signed(tag::ONWARD, onward_to_wire(around.onward));
            if let Some(owed) = write_inherited(&around.inherited) {
                delivery.message(tag::INHERITED, |fields| fields.encoded(&owed));
            }
            delivery.number(tag::RELEASED, around.released);
        });
    });
}

pub(super) fn write_delivery(item: &Delivery) -> proto::Delivery {
    proto::Delivery {
        envelope: Some(item.bulletin.to_wire()),
        position: item.position,
        released: item.released,
        time: item.time.micros(),
        clauses: item.clauses.iter().map(clause_to_wire).collect(),
        onward: onward_to_wire(item.onward),
        inherited: write_inherited(&item.inherited),
    }
}

/// Nothing where nothing is owed.
fn write_inherited(owed: &Inherited) -> Option<proto::Inherited> {
    let purposes = owed.purposes.iter().flatten();
    (*owed != Inherited::default()).then(|| proto::Inherited {
        keep_until: owed.keep_until.map_or(0, Timestamp::micros),
        bound: owed.purposes.is_some(),
        purposes: purposes.map(ToString::to_string).collect(),
        legal_bases: owed.legal_bases.clone(),
    })
}

fn read_inherited(wire: Option<proto::Inherited>) -> Read<Inherited> {
    let Some(wire) = wire else {
        return Ok(Inherited::default());
    };
    let until = Some(wire.keep_until).filter(|until| *until != 0);
    let purposes = wire.purposes.iter().map(|word| word.parse());
    let purposes: Result<_, _> = purposes.collect();
    let purposes = purposes.map_err(|_| Malformed("purposes"))?;
    Ok(Inherited {
        keep_until: until.map(read_time).transpose()?,
        purposes: wire.bound.then_some(purposes),
        legal_bases: wire.legal_bases,
    })
}

pub(super) fn read_delivery(wire: proto::Delivery) -> Read<Delivery> {
    let envelope = wire.envelope.ok_or(Malformed("bulletin"))?;
    let clauses = wire
        .clauses
        .iter()
        .map(clause_from_wire)
        .collect::<Option<_>>();
    Ok(Delivery {
        bulletin: Sealed::from_wire(envelope).map_err(|_| Malformed("bulletin"))?,
        position: wire.position,
        released: wire.released.max(wire.position),
        time: read_time(wire.time)?,
        clauses: clauses.ok_or(Malformed("clauses"))?,
        onward: onward_from_wire(wire.onward).ok_or(Malformed("onward"))?,
        inherited: read_inherited(wire.inherited)?,
    })
}

/// A delivery as the node's inbox stores it.
impl Delivery {
    /// The bytes of this delivery.
    pub fn to_bytes(&self) -> Vec<u8> {
        write_delivery(self).encode_to_vec()
    }

    /// Reads stored bytes.
    pub fn from_bytes(bytes: &[u8]) -> Read<Self> {
        let wire = proto::Delivery::decode(Bytes::copy_from_slice(bytes));
        read_delivery(wire.map_err(|_| Malformed("delivery"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::{AgreementId, ClauseName};
    use crate::bulletin::{Draft, redact, seal};
    use crate::clock::SeededEntropy;
    use crate::proof::{Digest, SecretKey};
    use crate::session::{Frame, encode};

    #[test]
    fn a_delivery_around_an_envelope_is_the_frame_byte_for_byte() {
        let entropy = SeededEntropy::new(1);
        let key = SecretKey::from_seed([7; 32]).unwrap();
        let draft = Draft::from_toml(
            "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
             \"ip\"\nvalue = \"192.0.2.1\"\n[[part]]\ntype = \"narrative\"\ntext = \"seen\"\n",
        );
        let partner = "norland.example".parse().unwrap();
        let unsealed = draft
            .unwrap()
            .into_unsealed(&partner, Timestamp::MIN, &entropy);
        let sealed = seal(vec![unsealed.unwrap()], &key, &entropy).unwrap();
        let clause = ClauseRef::new(ClauseName {
            agreement: AgreementId(Digest::of(b"terms")),
            name: "ours".into(),
            version: 3,
            clause: "feed".into(),
        });
        let owed = Inherited {
            legal_bases: vec!["treaty".into()],
            ..Inherited::default()
        };
        for (number, position, clauses, inherited, withheld) in [
            (1, 5, vec![clause.clone()], Inherited::default(), &[][..]),
            (0, 0, vec![], owed.clone(), &[1]),
            (u64::MAX, 1 << 40, vec![clause.clone(), clause], owed, &[0]),
        ] {
            let delivery = Delivery {
                bulletin: redact(&sealed[0], withheld),
                position,
                released: position + 1,
                time: Timestamp::MAX,
                clauses,
                onward: Onward::WithinAgreement,
                inherited,
            };
            let around = DeliveryAround {
                position: delivery.position,
                released: delivery.released,
                time: delivery.time,
                clauses: delivery.clauses.clone(),
                onward: delivery.onward,
                inherited: delivery.inherited.clone(),
            };
            let mut buffer = b"before".to_vec();
            let envelope = delivery.bulletin.to_bytes();
            put_delivery(number, &around, &envelope, &mut buffer);
            let item = Some(Box::new(delivery));
            let frame = encode(&Frame::Deliver { number, item });
            assert_eq!(buffer[6..], frame[..]);
        }
    }
}
