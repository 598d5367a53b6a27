//! W8: what signing and checking cost for each bulletin, with the number of bulletins under one signature.
//!
//! Of sealing and of opening the whole is told, which hashes every byte of every part whatever the burst,
//! and what signing and checking make up of it: the difference to sealing without a signature, and to
//! opening what is remembered as verified.

use std::sync::Arc;
use std::time::Instant;

use super::error::BenchError;
use super::fanout::Maker;
use super::figures::Figures;
use super::worker::Stream;
use crate::bulletin::{BulletinKeys, Precedence, Sealed, VerifiedBursts, open, seal};
use crate::clock::{Clock, SystemClock, SystemEntropy, Timestamp};
use crate::identity::new_secret_key;
use crate::partner::PartnerId;
use crate::proof::{KeyId, PublicKey, SignError, Signer};

/// Bulletins of one measurement.
const BULLETINS: usize = 4_096;

struct Known(PublicKey);

impl BulletinKeys for Known {
    fn bulletin_key(&self, _: &PartnerId, key: &KeyId, _: Timestamp) -> Option<PublicKey> {
        (self.0.id() == *key).then_some(self.0)
    }
}

/// Does not sign: what is left of sealing is everything else.
#[derive(Debug)]
struct Idle(PublicKey);

impl Signer for Idle {
    fn public_key(&self) -> PublicKey {
        self.0
    }

    fn sign_message(&self, _: &[u8]) -> Result<[u8; 64], SignError> {
        Ok([0; 64])
    }
}

/// Sealing, opening at the broker and opening at a recipient, in bursts of these sizes.
pub fn bursts(sizes: &[usize]) -> Result<Vec<Figures>, BenchError> {
    sizes.iter().map(|size| burst(*size)).collect()
}

fn burst(size: usize) -> Result<Figures, BenchError> {
    let entropy = SystemEntropy::new();
    let key = Arc::new(new_secret_key(&entropy).map_err(BenchError::worker)?);
    let (public, partner) = (key.public_key(), "norland.example".parse());
    let stream = Stream {
        partner: partner.map_err(BenchError::worker)?,
        number: 0,
        count: 0,
        burst: size,
        precedence: Precedence::Routine,
        schedule: None,
        outstanding: 0,
    };
    let mut maker = Maker::new(&stream, Arc::clone(&key))?;
    let (whole, sealed) = sealing(&mut maker, size, key.as_ref())?;
    let (rest, _) = sealing(&mut maker, size, &Idle(public))?;
    // Broker and recipient do the same: they open what came, and remember what they verified.
    let known = Known(public);
    let mut bursts = VerifiedBursts::new(BULLETINS);
    let first = opening(&sealed, &known, &mut bursts)?;
    let again = opening(&sealed, &known, &mut bursts)?;
    Ok(Figures::of("W8", "entente")
        .with("burst", size)
        .with("seal_us", whole)
        .with("sign_us", (whole - rest).max(0.0))
        .with("open_us", first)
        .with("check_us", (first - again).max(0.0)))
}

/// Microseconds for each bulletin, and the bulletins.
fn sealing(
    maker: &mut Maker,
    size: usize,
    signer: &dyn Signer,
) -> Result<(f64, Vec<Sealed>), BenchError> {
    let mut all = Vec::with_capacity(BULLETINS);
    let mut micros = 0.0;
    while all.len() < BULLETINS {
        let unsealed = maker.unsealed(size)?;
        let started = Instant::now();
        let sealed = seal(unsealed, signer, &SystemEntropy::new()).map_err(BenchError::worker)?;
        micros += started.elapsed().as_secs_f64() * 1e6;
        all.extend(sealed);
    }
    Ok((per(micros, all.len()), all))
}

/// Microseconds for each bulletin.
fn opening(
    sealed: &[Sealed],
    keys: &Known,
    bursts: &mut VerifiedBursts,
) -> Result<f64, BenchError> {
    let now = SystemClock.now();
    let copies: Vec<Sealed> = sealed.to_vec();
    let started = Instant::now();
    for one in copies {
        std::hint::black_box(open(one, now, keys, bursts).map_err(BenchError::worker)?);
    }
    Ok(per(started.elapsed().as_secs_f64() * 1e6, sealed.len()))
}

#[expect(clippy::cast_precision_loss, reason = "thousands")]
fn per(micros: f64, count: usize) -> f64 {
    micros / count as f64
}
