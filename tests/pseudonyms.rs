//! Bulletins without a name, from a node to others: what recipients see, what they cannot, and that
//! notices follow them.

use std::path::Path;
use std::process::Command as Shell;
use std::time::Duration;

use entente::broker::BulletinView;
use entente::bulletin::{BulletinId, Draft, Header};
use entente::deployment::{AgreementPlan, Plan, Runner, until};
use entente::node::{Command, ItemView, Response};
use entente::partner::PartnerId;
use entente::testing::{Cluster, Scratch};

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");
const PATIENCE: Duration = Duration::from_secs(40);

fn partner(name: &str) -> PartnerId {
    format!("{name}.example").parse().expect("a partner")
}

/// Two agreements of all three, which show originators by an alias; one of them shows them to Estmark.
fn plan() -> Plan {
    let partners = ["norland", "estmark", "sudland"].map(partner).to_vec();
    let mut plan = Plan::new(partner("alliance"), partners.clone());
    let clause = |id: &str, to: &str, more: &str| {
        format!(
            "[[clause]]\nid = \"{id}\"\nfrom = [\"*\"]\nto = [\"{to}\"]\nkinds = [\"cyber\"]\ntopics \
             = [\"*\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\n{more}"
        )
    };
    let alias = clause("alias", "*", "originator = \"alias\"\n");
    let named = clause("named", "estmark.example", "");
    for (name, clauses) in [
        ("feed", alias.clone()),
        ("forum", format!("{alias}{named}")),
    ] {
        plan.agreements.push(AgreementPlan {
            name: name.into(),
            title: String::new(),
            parties: partners.clone(),
            clauses,
        });
    }
    plan
}

async fn publish(cluster: &Cluster, from: &str, agreement: &str, shown: &str) -> BulletinId {
    let file = format!(
        "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:AMBER\"\npseudonym = {{ agreement = \
         \"{agreement}\", as = \"{shown}\", reveal_to = [\"estmark.example\"] \
         }}\nreleasable_to = [\"norland.example\", \"estmark.example\", \
         \"sudland.example\"]\n[[part]]\ntype = \"narrative\"\ntext = \"a breach\"\n"
    );
    let drafts = vec![Draft::from_toml(&file).expect("a bulletin")];
    let ids = cluster
        .publish(&partner(from), drafts)
        .await
        .expect("taken");
    cluster
        .promised(&partner(from), &ids)
        .await
        .expect("promised");
    cluster.delivered(ids[0]).await.expect("delivered");
    ids[0]
}

async fn received(cluster: &Cluster, name: &str, id: BulletinId) -> ItemView {
    let item = cluster.received(&partner(name), id).await;
    item.expect("an answer").expect("a bulletin")
}

fn pseudonym(item: &ItemView) -> String {
    let header = item.header.as_ref().expect("a header");
    header.pseudonym.clone().expect("a pseudonym")
}

fn originator(item: &ItemView) -> Option<PartnerId> {
    let header = item.header.as_ref().expect("a header");
    header.originator.clone()
}

/// The header of a published bulletin, as every recipient sees it.
async fn header(cluster: &Cluster, name: &str, id: BulletinId) -> Header {
    let (ids, wait) = (vec![id], 0);
    let answer = cluster
        .ask_node(&partner(name), &Command::Outbox { ids, wait })
        .await;
    let Ok(Response::Outbox(statuses)) = answer else {
        panic!("{answer:?}")
    };
    let bytes = statuses[0].header().expect("a header");
    Header::from_bytes(&bytes).expect("a header")
}

/// Nothing in the headers of these but their labels, of which they have the same, links them.
fn assert_unlinked(one: &Header, other: &Header) {
    assert_eq!((one.as_of, other.as_of), (0, 0));
    for header in [one, other] {
        for time in [header.created, header.valid_from, header.valid_until] {
            assert_eq!(time.micros() % 1_000_000, 0, "{time}");
        }
        assert!(header.releasable_to.is_empty() && header.audience_part);
    }
    assert_ne!(one.id, other.id);
    assert_ne!(one.originator, other.originator);
    assert_ne!(one.signing_key, other.signing_key);
    assert_ne!(one.parts_root, other.parts_root);
    // What is left are labels, and times to the second.
    let blank = |header: &Header| Header {
        id: one.id,
        originator: one.originator.clone(),
        signing_key: one.signing_key,
        parts_root: one.parts_root,
        created: one.created,
        valid_from: one.valid_from,
        valid_until: one.valid_until,
        ..header.clone()
    };
    assert_eq!(blank(one), blank(other));
}

fn recall(directory: &Path, id: BulletinId) {
    let output = Shell::new(PROGRAM)
        .args(["recall", &id.to_string(), "--reason", "An error."])
        .args(["-c", "nodes/norland.example/node.toml"])
        .current_dir(directory)
        .output()
        .expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

async fn applied(cluster: &Cluster, id: BulletinId) -> BulletinView {
    let look = || async {
        let view = cluster.decided(id).await.ok()?;
        let mut all = view.recipients.iter();
        all.all(|one| one.declared == ["applied"]).then_some(view)
    };
    until("the recall", PATIENCE, look).await.expect("applied")
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_see_an_alias_and_notices_bear_it() {
    let scratch = Scratch::new().expect("a directory");
    let runner = Runner::Processes(PROGRAM.into());
    let cluster = Cluster::start(runner, scratch.path(), plan(), 9).await;
    let cluster = cluster.expect("a cluster");
    let first = publish(&cluster, "norland", "feed", "alias").await;
    let second = publish(&cluster, "norland", "feed", "alias").await;
    let elsewhere = publish(&cluster, "norland", "forum", "alias").await;
    let others = publish(&cluster, "estmark", "feed", "alias").await;
    let once = publish(&cluster, "norland", "feed", "framework").await;
    let again = publish(&cluster, "norland", "feed", "framework").await;

    // The same for all of one party under one agreement, and for nothing else.
    let alias = pseudonym(&received(&cluster, "sudland", first).await);
    assert!(alias.starts_with("alias-"), "{alias}");
    assert_eq!(
        pseudonym(&received(&cluster, "sudland", second).await),
        alias
    );
    assert_eq!(
        pseudonym(&received(&cluster, "estmark", second).await),
        alias
    );
    assert_ne!(
        pseudonym(&received(&cluster, "sudland", elsewhere).await),
        alias
    );
    assert_ne!(
        pseudonym(&received(&cluster, "sudland", others).await),
        alias
    );
    for id in [once, again] {
        let item = received(&cluster, "sudland", id).await;
        assert_eq!(pseudonym(&item), "undisclosed");
    }
    let (first_header, second_header) = (
        header(&cluster, "norland", once).await,
        header(&cluster, "norland", again).await,
    );
    assert_unlinked(&first_header, &second_header);
    let leaves =
        |item: ItemView| -> Vec<String> { item.parts.into_iter().map(|part| part.leaf).collect() };
    let (one, other) = (
        leaves(received(&cluster, "sudland", once).await),
        leaves(received(&cluster, "sudland", again).await),
    );
    assert!(one.iter().all(|leaf| !other.contains(leaf)), "salted");

    // Shown to Estmark where both the originator and a clause show it; never to Sudland.
    let shown = received(&cluster, "estmark", elsewhere).await;
    assert_eq!(originator(&shown), Some(partner("norland")));
    assert_eq!(
        originator(&received(&cluster, "estmark", first).await),
        None
    );
    for id in [first, second, elsewhere, once, again] {
        let item = received(&cluster, "sudland", id).await;
        assert!(item.quarantined.is_none());
        let text = serde_json::to_string(&item).expect("JSON");
        assert!(!text.contains("norland"), "{text}");
    }

    // A recall is under the same pseudonym, and as nameless.
    for id in [first, once] {
        recall(scratch.path(), id);
        let notice = applied(&cluster, id).await.notices[0].1;
        let item = received(&cluster, "sudland", notice).await;
        assert_eq!(
            pseudonym(&item),
            pseudonym(&received(&cluster, "estmark", notice).await)
        );
        assert_eq!(originator(&item), None);
        let text = serde_json::to_string(&item).expect("JSON");
        assert!(!text.contains("norland"), "{text}");
    }

    // The broker knows, and an auditor verifies, who it was.
    let view = cluster.decided(once).await.expect("a bulletin");
    assert_eq!(view.originator, partner("norland"));
    let audited = Shell::new(PROGRAM)
        .args(["audit", "verify", "-c", "broker/broker.toml"])
        .current_dir(scratch.path())
        .output()
        .expect("the program");
    assert!(audited.status.success());
}
