//! Plays a scenario step by step, and compares what happened with what it promises.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::CliError;
use super::claims::{self, Observed};
use super::scenario::{Publication, Scenario, Step};
use super::show;
use super::stage::{self, Stage};
use crate::agreement::{SignedWithdrawal, Withdrawal};
use crate::broker::{AgreementView, BulletinView, Reply, Request};
use crate::bulletin::{BulletinId, Draft, Relation};
use crate::cli::files::{base64, clock, unexpected};
use crate::cli::report::Report;
use crate::decision::RedLines;
use crate::deployment::{DeploymentError, OPERATOR, ratified, until};
use crate::identity::read_secret_key;
use crate::ledger::{HoldDecision, RedLinesOrder, SignedHoldDecision};
use crate::node::{Command, NoticeDraft, Response};
use crate::partner::PartnerId;
use crate::proof::{PayloadType, Signer};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(1);

struct Play<'a> {
    stage: &'a mut Stage,
    scenario: &'a Scenario,
    /// Bulletins by what they say.
    ids: BTreeMap<String, (BulletinId, PartnerId)>,
    later: Vec<&'a Publication>,
    shown: Vec<Observed>,
    broken: Vec<String>,
    killed: bool,
}

/// Plays a scenario and shows what became of it all.
pub(super) async fn play(
    stage: &mut Stage,
    scenario: &Scenario,
    report: &Report,
) -> Result<(), CliError> {
    let started = Instant::now();
    let mut play = Play {
        stage,
        scenario,
        ids: BTreeMap::new(),
        later: Vec::new(),
        shown: Vec::new(),
        broken: Vec::new(),
        killed: false,
    };
    for step in &scenario.steps {
        play.step(step).await?;
    }
    for publication in std::mem::take(&mut play.later) {
        play.look(publication).await?;
    }
    let (shown, broken, killed) = (play.shown, play.broken, play.killed);
    let audited = stage::audited(&stage.alliance, report).await?;
    let partners = stage.alliance.running().cloned().collect();
    let mut outcome = show::Outcome::new(partners, shown, audited, started.elapsed(), broken);
    outcome.set_scenario(&scenario.title, killed);
    report.show(&outcome, || show::people(&outcome))?;
    outcome.verdict()
}

impl<'a> Play<'a> {
    async fn step(&mut self, step: &'a Step) -> Result<(), CliError> {
        match step {
            Step::Publish(publication) => self.publish(publication).await,
            Step::Kill { partner } => {
                self.killed = true;
                Ok(self.stage.alliance.kill_node(partner).await?)
            }
            Step::Start { partner } => Ok(self.stage.alliance.start_nodes([partner]).await?),
            Step::Withdraw { agreement, by } => self.withdraw(agreement, by).await,
            Step::Release {
                says,
                under,
                persons,
            } => self.release(says, under, persons).await,
            Step::Take { says, by } => self.take(says, by).await,
            Step::Recall {
                says,
                reason,
                applied,
            } => self.recall(says, reason, applied).await,
            Step::RedLines { lines } => self.draw(lines).await,
            Step::RefusedAgreement { agreement, code } => {
                let plan = self.scenario.agreement(agreement, &self.stage.keys);
                let ledger = self.stage.ledger;
                let layout = self.stage.alliance.layout();
                let signed = ratified(layout, ledger, &plan, clock().now())?;
                let request = Request::Ratify {
                    agreement: base64(&signed.to_file()),
                };
                let asked = self.stage.alliance.ask_broker(&request).await;
                let found = match asked {
                    Err(DeploymentError::Trouble { code, .. }) => code,
                    Err(error) => return Err(error.into()),
                    Ok(_) => "recorded".to_owned(),
                };
                let name = &agreement.name;
                self.claim(found == *code, || {
                    format!("the agreement {name} should be refused for {code}: {found}")
                });
                Ok(())
            }
        }
    }

    fn claim(&mut self, holds: bool, sentence: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(sentence());
        }
    }

    fn bulletin(&self, says: &str) -> Result<(BulletinId, PartnerId), CliError> {
        let known = self.ids.get(says).cloned();
        known.ok_or_else(|| CliError::failed(format!("no bulletin says `{says}`")))
    }

    async fn publish(&mut self, publication: &'a Publication) -> Result<(), CliError> {
        let alliance = &self.stage.alliance;
        let says = &publication.says;
        let draft = Draft::from_toml(&publication.bulletin)
            .map_err(|error| CliError::failed(format!("{says}: {error}")))?;
        let ids = alliance.publish(&publication.from, vec![draft]).await?;
        alliance.promised(&publication.from, &ids).await?;
        let id = ids.first().copied().ok_or_else(unexpected)?;
        self.ids
            .insert(says.clone(), (id, publication.from.clone()));
        if publication.later {
            self.later.push(publication);
            return Ok(());
        }
        self.look(publication).await
    }

    /// Reads back what became of a bulletin, and compares.
    async fn look(&mut self, publication: &Publication) -> Result<(), CliError> {
        let (id, _) = self.bulletin(&publication.says)?;
        let alliance = &self.stage.alliance;
        let view = alliance.delivered(id).await?;
        let observed = claims::observe(alliance, &publication.says, &view).await?;
        self.broken.extend(claims::compare(publication, &observed));
        self.shown.push(observed);
        Ok(())
    }

    async fn in_force(&self, name: &str) -> Result<AgreementView, CliError> {
        let asked = self.stage.alliance.ask_broker(&Request::Agreements).await?;
        let Reply::Agreements(all) = asked else {
            return Err(unexpected());
        };
        all.into_iter()
            .find(|one| one.name == name && one.ended.is_none())
            .ok_or_else(|| CliError::failed(format!("no agreement `{name}` in force")))
    }

    async fn withdraw(&mut self, agreement: &str, by: &PartnerId) -> Result<(), CliError> {
        let found = self.in_force(agreement).await?;
        let alliance = &self.stage.alliance;
        let withdrawal = Withdrawal {
            ledger: self.stage.ledger.0,
            agreement: found.id.parse().map_err(CliError::failed)?,
            partner: by.clone(),
            time: clock().now(),
            reason: String::new(),
        };
        let key = read_secret_key(&alliance.layout().home(by).agreements_key())?;
        let request = Request::Withdraw {
            withdrawal: base64(&SignedWithdrawal::sign(withdrawal, &key)?.to_file()),
        };
        alliance.ask_broker(&request).await?;
        Ok(())
    }

    async fn release(
        &mut self,
        says: &str,
        under: &str,
        persons: &[String],
    ) -> Result<(), CliError> {
        let (id, _) = self.bulletin(says)?;
        let found = self.in_force(under).await?;
        let view = self.stage.alliance.decided(id).await?;
        let held = view
            .recipients
            .iter()
            .filter(|one| one.held.is_some())
            .count();
        self.claim(held > 0, || format!("{says}: nothing of it is held"));
        for person in persons {
            let decision = HoldDecision {
                ledger: self.stage.ledger,
                id,
                bulletin: view.header.parse().map_err(CliError::failed)?,
                agreement: found.id.parse().map_err(CliError::failed)?,
                person: person.clone(),
                release: true,
                time: clock().now(),
            };
            let key = read_secret_key(&self.stage.person_key(person))?;
            let request = Request::DecideHold {
                decision: base64(&SignedHoldDecision::sign(decision, &key)?.to_bytes()),
            };
            self.stage.alliance.ask_broker(&request).await?;
        }
        let view = self.stage.alliance.decided(id).await?;
        let left = view.recipients.iter().any(|one| one.held.is_some());
        self.claim(!left, || format!("{says}: it is still held"));
        Ok(())
    }

    async fn take(&mut self, says: &str, by: &[PartnerId]) -> Result<(), CliError> {
        let (id, _) = self.bulletin(says)?;
        let alliance = &self.stage.alliance;
        for partner in by {
            let taken = alliance
                .ask_node(partner, &Command::Acknowledge { id })
                .await?;
            if !matches!(taken, Response::Advanced) {
                return Err(unexpected());
            }
        }
        let done = |view: &BulletinView| {
            let taken = view.recipients.iter().filter(|one| {
                by.contains(&one.partner) && one.declared.iter().any(|what| what == "taken")
            });
            taken.count() == by.len()
        };
        self.wait(id, says, done).await?;
        Ok(())
    }

    async fn recall(
        &mut self,
        says: &str,
        reason: &str,
        applied: &[PartnerId],
    ) -> Result<(), CliError> {
        let (id, from) = self.bulletin(says)?;
        let notice = NoticeDraft {
            id: None,
            about: id,
            relation: Relation::Retracts,
            reason: reason.to_owned(),
            precedence: None,
            tlp: None,
            classification: None,
        };
        let alliance = &self.stage.alliance;
        alliance
            .ask_node(&from, &Command::Notice { notice })
            .await?;
        let done = |view: &BulletinView| {
            let applied_by = view
                .recipients
                .iter()
                .filter(|one| one.declared.iter().any(|what| what == "applied"));
            applied_by.count() >= applied.len()
        };
        let view = self.wait(id, says, done).await?;
        for one in &view.recipients {
            let item = self.stage.alliance.received(&one.partner, id).await?;
            let open = item.is_some_and(|item| item.parts.iter().any(|part| !part.withheld));
            self.claim(applied.contains(&one.partner), || {
                format!("{says}: {} should not have received it", one.partner)
            });
            self.claim(!open, || format!("{says}: {} still holds it", one.partner));
        }
        Ok(())
    }

    async fn wait(
        &self,
        id: BulletinId,
        says: &str,
        done: impl Fn(&BulletinView) -> bool,
    ) -> Result<BulletinView, CliError> {
        let look = || async {
            let view = self.stage.alliance.decided(id).await.ok()?;
            done(&view).then_some(view)
        };
        Ok(until(
            &format!("what recipients declare about `{says}`"),
            PATIENCE,
            look,
        )
        .await?)
    }

    async fn draw(&mut self, lines: &str) -> Result<(), CliError> {
        let order = RedLinesOrder {
            ledger: self.stage.ledger,
            lines: RedLines::parse(lines).map_err(CliError::failed)?,
            text: lines.to_owned(),
            time: clock().now(),
        };
        let bytes = order.to_bytes();
        let alliance = &self.stage.alliance;
        let key = read_secret_key(&alliance.layout().operator_key())?;
        let signature = key.sign(PayloadType::RedLines, &bytes)?;
        let request = Request::SetRedLines {
            order: base64(&bytes),
            operator: OPERATOR.to_owned(),
            key: signature.key_id.to_string(),
            signature: base64(&signature.bytes),
        };
        alliance.ask_broker(&request).await?;
        Ok(())
    }
}
