//! Redaction: a withheld part is replaced by the hash of its leaf, and the originator's signature
//! still verifies.

use super::part::Part;
use super::seal::Sealed;

/// The bulletin without the parts at these indexes. Indexes beyond the parts mean nothing.
pub fn redact(sealed: &Sealed, withheld: &[u32]) -> Sealed {
    let mut redacted = sealed.clone();
    for index in withheld {
        let part = usize::try_from(*index)
            .ok()
            .and_then(|at| redacted.parts.get_mut(at));
        if let Some(part) = part {
            *part = Part::Withheld(part.leaf());
        }
    }
    redacted
}
