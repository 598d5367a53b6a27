//! Statements to and from their files.

use bytes::Bytes;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::check::InvalidStatement::{self, Malformed};
use super::{Item, Statement, Subject};
use crate::bulletin::{BulletinId, Sealed};
use crate::clock::Timestamp;
use crate::ledger::{LedgerId, RecordOpening};
use crate::partner::PartnerId;
use crate::proof::{
    Digest, KeyId, PayloadType, PublicKey, SignError, Signature, Signer, decode_base64, verify,
};

/// The format that is written and read.
const FORMAT: u32 = 1;
/// A longer proof has no tree of 2^63 entries.
const MAX_PATH: usize = 63;

/// A DSSE envelope (secure-systems-lab/dsse, envelope.md).
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Serialize, Deserialize)]
struct EnvelopeSignature {
    keyid: String,
    sig: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    format: u32,
    framework: String,
    ledger: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partner: Option<PartnerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bulletin: Option<BulletinId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    made: Timestamp,
    checkpoint: String,
    items: Vec<PayloadItem>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PayloadItem {
    position: u64,
    path: Vec<String>,
    opening: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bulletin: Option<String>,
}

impl Statement {
    /// Signs it, and gives its file.
    pub fn sign(&self, signer: &dyn Signer) -> Result<String, SignError> {
        let (partner, bulletin) = match &self.subject {
            Subject::Partner(partner) => (Some(partner.clone()), None),
            Subject::Bulletin(id) => (None, Some(*id)),
        };
        let items = self.items.iter().map(|item| PayloadItem {
            position: item.position,
            path: item
                .path
                .iter()
                .map(|hash| BASE64.encode(hash.as_bytes()))
                .collect(),
            opening: BASE64.encode(&item.opening.to_bytes()),
            bulletin: item
                .bulletin
                .as_ref()
                .map(|one| BASE64.encode(&one.to_bytes())),
        });
        let payload = Payload {
            format: FORMAT,
            framework: self.framework.clone(),
            ledger: self.ledger.0,
            partner,
            bulletin,
            since: self.since,
            until: self.until,
            made: self.made,
            checkpoint: self.checkpoint.clone(),
            items: items.collect(),
        };
        // Strings, numbers and lists always serialize.
        let payload = serde_json::to_vec(&payload).unwrap_or_default();
        let signature = signer.sign(PayloadType::Disclosure, &payload)?;
        let envelope = Envelope {
            payload_type: PayloadType::Disclosure.as_str().to_owned(),
            payload: BASE64.encode(&payload),
            signatures: vec![EnvelopeSignature {
                keyid: signature.key_id.to_string(),
                sig: BASE64.encode(&signature.bytes),
            }],
        };
        Ok(serde_json::to_string_pretty(&envelope).unwrap_or_default() + "\n")
    }

    /// Whether a file looks like a statement: of a well-formed one it says so.
    pub fn is_meant(text: &str) -> bool {
        serde_json::from_str::<Envelope>(text).is_ok()
    }

    /// Verifies the signature under one of some keys, and only then reads what it says. Tells which key.
    pub(super) fn open<'a>(
        text: &str,
        keys: impl IntoIterator<Item = &'a PublicKey>,
    ) -> Result<(Self, &'a PublicKey), InvalidStatement> {
        let envelope: Envelope = serde_json::from_str(text).map_err(|_| Malformed("envelope"))?;
        if envelope.payload_type != PayloadType::Disclosure.as_str() {
            return Err(InvalidStatement::OtherType(envelope.payload_type));
        }
        let payload = decode(&envelope.payload, "payload")?;
        let signer = keys.into_iter().find(|key| {
            let mut signatures = envelope.signatures.iter();
            signatures.any(|one| one.verifies(key, &payload))
        });
        let signer = signer.ok_or(InvalidStatement::Signature)?;
        let payload: Payload =
            serde_json::from_slice(&payload).map_err(|_| Malformed("payload"))?;
        Ok((payload.read()?, signer))
    }
}

impl EnvelopeSignature {
    /// The key id is a hint (DSSE): it is not looked at.
    fn verifies(&self, key: &PublicKey, payload: &[u8]) -> bool {
        let bytes = decode_base64(&self.sig);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.is_some_and(|bytes| {
            let key_id: KeyId = key.id();
            let signature = Signature { key_id, bytes };
            verify(key, PayloadType::Disclosure, payload, &signature).is_ok()
        })
    }
}

impl Payload {
    fn read(self) -> Result<Statement, InvalidStatement> {
        if self.format != FORMAT {
            return Err(InvalidStatement::UnknownFormat(self.format));
        }
        let subject = match (self.partner, self.bulletin) {
            (Some(partner), None) => Subject::Partner(partner),
            (None, Some(id)) => Subject::Bulletin(id),
            _ => return Err(Malformed("subject")),
        };
        let items = self.items.into_iter().map(PayloadItem::read);
        Ok(Statement {
            framework: self.framework,
            ledger: LedgerId(self.ledger),
            subject,
            since: self.since,
            until: self.until,
            made: self.made,
            checkpoint: self.checkpoint,
            items: items.collect::<Result<_, _>>()?,
        })
    }
}

impl PayloadItem {
    fn read(self) -> Result<Item, InvalidStatement> {
        if self.path.len() > MAX_PATH {
            return Err(Malformed("path"));
        }
        let path = self.path.iter().map(|hash| {
            let bytes = decode(hash, "path")?;
            Digest::try_from(bytes.as_slice()).map_err(|_| Malformed("path"))
        });
        let opening = Bytes::from(decode(&self.opening, "opening")?);
        let opening = RecordOpening::from_bytes(&opening);
        let bulletin = self.bulletin.map(|text| {
            let bytes = Bytes::from(decode(&text, "bulletin")?);
            Sealed::from_bytes(&bytes).map_err(|_| Malformed("bulletin"))
        });
        Ok(Item {
            position: self.position,
            path: path.collect::<Result<_, InvalidStatement>>()?,
            opening: opening.map_err(|_| Malformed("opening"))?,
            bulletin: bulletin.transpose()?,
        })
    }
}

fn decode(text: &str, what: &'static str) -> Result<Vec<u8>, InvalidStatement> {
    decode_base64(text).ok_or(Malformed(what))
}
