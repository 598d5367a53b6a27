//! What waits for a partner: for its consent, and for its persons.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Shared;
use crate::agreement::AgreementId;
use crate::bulletin::BulletinId;
use crate::clock::Timestamp;
use crate::ledger::{Held, State};
use crate::partner::PartnerId;
use crate::proof::Digest;
use crate::session::{Asking, AskingItem, HoldItem};

/// The most that one partner asks another at a time.
const MAX_ASKED: usize = 64;
/// The most bytes of a frame with what waits: well below what a frame may have.
const MAX_ASKING_BYTES: usize = 2 * 1024 * 1024;

/// What waits for a partner's consent, and for its persons, and fits into a frame: what is not in it comes
/// when something of it was answered.
pub(super) fn of(shared: &Shared, partner: &PartnerId) -> Asking {
    let now = shared.clock.now();
    let state = shared.log.state();
    let dossiers = state.dossiers();
    let item = |(header, bulletin, asker): (_, _, &PartnerId)| {
        Some(AskingItem {
            bulletin,
            header,
            asker: asker.clone(),
            questions: dossiers.dossier(&header)?.questions(partner),
        })
    };
    // Who asks much does not keep others from asking.
    let mut by_asker: HashMap<&PartnerId, usize> = HashMap::new();
    let consents = dossiers.asking(partner, now).filter(|(.., asker)| {
        let asked = by_asker.entry(*asker).or_default();
        *asked += 1;
        *asked <= MAX_ASKED
    });
    let mut room = MAX_ASKING_BYTES;
    let mut fits = |bytes: usize| {
        room = room.saturating_sub(bytes);
        room > 0
    };
    let consents: Vec<AskingItem> = consents
        .filter_map(item)
        .take_while(|item| fits(item.size()))
        .collect();
    let holds = dossiers.holding(now).flat_map(|(header, bulletin, holds)| {
        hold_items(&state, partner, now, (header, bulletin), holds)
    });
    Asking {
        consents,
        holds: holds.take_while(|item| fits(item.size())).collect(),
    }
}

/// What of a bulletin waits for a partner's persons: one item for each agreement that holds it.
fn hold_items(
    state: &State,
    partner: &PartnerId,
    now: Timestamp,
    (header, bulletin): (Digest, BulletinId),
    holds: &[Held],
) -> Vec<HoldItem> {
    let mut items: BTreeMap<AgreementId, (BTreeSet<String>, Timestamp)> = BTreeMap::new();
    for held in holds.iter().filter(|held| now < held.deadline) {
        let Some(entry) = state.agreements().get(&held.agreement) else {
            continue;
        };
        let persons = entry.agreement.agreement().persons.iter();
        let own = persons.filter(|person| {
            person.partner == *partner
                && held.persons.contains(&*person.name)
                && !held.released_by.contains(&*person.name)
        });
        let own: BTreeSet<String> = own.map(|person| person.name.clone()).collect();
        if !own.is_empty() {
            let item = items.entry(held.agreement);
            let item = item.or_insert_with(|| (BTreeSet::new(), held.deadline));
            item.0.extend(own);
            item.1 = item.1.min(held.deadline);
        }
    }
    let item = |(agreement, (persons, deadline)): (_, (BTreeSet<String>, _))| HoldItem {
        bulletin,
        header,
        agreement,
        persons: persons.into_iter().collect(),
        deadline,
    };
    items.into_iter().map(item).collect()
}
