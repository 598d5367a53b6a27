//! The stream and its buckets: how they are made, and what is checked of them at every start.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::kv;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType,
};

use super::config::StreamConfig;
use super::contents::Contents;
use super::error::StreamError;
use super::nats::{Stream, unavailable};

/// For so long a server knows messages by their id, so that one sent twice is stored once.
const DUPLICATES: Duration = Duration::from_mins(2);

/// What a ledger has at the servers.
#[derive(Clone)]
pub(super) struct Catalogue {
    pub(super) stream: Stream,
    pub(super) contents: Contents,
    pub(super) heads: kv::Store,
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Catalogue")
    }
}

/// The one subject of a ledger's stream.
pub(super) fn subject(config: &StreamConfig) -> String {
    format!("entente.{}.log", config.name)
}

/// Where brokers say that they are about to append; no stream keeps it.
pub(super) fn turns_subject(config: &StreamConfig) -> String {
    format!("entente.{}.turns", config.name)
}

fn contents_subject(config: &StreamConfig) -> String {
    format!("entente.{}.contents", config.name)
}

fn contents_name(config: &StreamConfig) -> String {
    format!("{}-contents", config.name)
}

fn heads_name(config: &StreamConfig) -> String {
    format!("{}-heads", config.name)
}

/// The stream as a ledger needs it.
fn fit(config: &StreamConfig) -> Config {
    Config {
        name: config.name.clone(),
        subjects: vec![subject(config)],
        description: Some("the log of an Entente ledger: append-only".to_owned()),
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_age: Duration::ZERO,
        max_consumers: -1,
        storage: StorageType::File,
        num_replicas: config.replicas,
        duplicate_window: DUPLICATES,
        deny_delete: true,
        deny_purge: true,
        ..Config::default()
    }
}

/// The stream of bodies, from which messages are deleted.
fn fit_for_contents(config: &StreamConfig) -> Config {
    Config {
        name: contents_name(config),
        subjects: vec![format!("{}.*", contents_subject(config))],
        description: Some("the bodies of an Entente ledger: erased by its rules".to_owned()),
        deny_delete: false,
        deny_purge: false,
        ..fit(config)
    }
}

impl Catalogue {
    /// Makes what is not there yet, and opens it.
    pub(super) async fn create(
        context: &Context,
        config: &StreamConfig,
    ) -> Result<Self, StreamError> {
        let made = context.get_or_create_stream(fit(config)).await;
        made.map_err(unavailable)?;
        let made = context.get_or_create_stream(fit_for_contents(config)).await;
        made.map_err(unavailable)?;
        let bucket = heads_name(config);
        if context.get_key_value(&bucket).await.is_err() {
            let made = context.create_key_value(kv::Config {
                bucket,
                history: 1,
                storage: StorageType::File,
                num_replicas: config.replicas,
                ..kv::Config::default()
            });
            made.await.map_err(unavailable)?;
        }
        Self::open(context, config).await
    }

    /// Opens what is there, and refuses what is not fit for a ledger.
    pub(super) async fn open(
        context: &Context,
        config: &StreamConfig,
    ) -> Result<Self, StreamError> {
        use async_nats::jetstream::ErrorCode;
        use async_nats::jetstream::context::GetStreamErrorKind;
        let stream = match context.get_stream(&config.name).await {
            Ok(stream) => stream,
            Err(error) => {
                let missing = matches!(
                    error.kind(),
                    GetStreamErrorKind::JetStream(told) if told.error_code() == ErrorCode::STREAM_NOT_FOUND
                );
                return Err(if missing {
                    StreamError::NoStream(config.name.clone())
                } else {
                    unavailable(error)
                });
            }
        };
        check(config, &stream.cached_info().config)?;
        let contents = context.get_stream(contents_name(config)).await;
        let contents = contents.map_err(unavailable)?;
        let heads = context.get_key_value(heads_name(config)).await;
        let heads = heads.map_err(unavailable)?;
        check_beside(config, &contents.cached_info().config)?;
        let of_heads = context.get_stream(format!("KV_{}", heads_name(config)));
        let of_heads = of_heads.await.map_err(unavailable)?;
        check_beside(config, &of_heads.cached_info().config)?;
        let subject = contents_subject(config);
        let contents = Contents::new(context.clone(), contents, subject);
        Ok(Self {
            stream,
            contents,
            heads,
        })
    }
}

/// Names what is wrong with a stream, and the command that mends it.
fn check(config: &StreamConfig, found: &Config) -> Result<(), StreamError> {
    let name = &config.name;
    let unfit = |what: &str, remedy: String| {
        Err(StreamError::Unfit {
            stream: name.clone(),
            what: what.to_owned(),
            remedy,
        })
    };
    let edit = |flags: &str| format!("nats stream edit {name} {flags}");
    let anew = || {
        format!(
            "it cannot be changed afterwards: stop all brokers, copy the ledger to a stream of another name with \
             `entente broker copy`, and delete {name} (docs/brokers.md)"
        )
    };
    if found.subjects != [subject(config)] {
        return unfit(
            "it takes other subjects than the ledger's own",
            edit(&format!("--subjects={}", subject(config))),
        );
    }
    if found.storage != StorageType::File {
        return unfit("it is kept in memory", anew());
    }
    if found.num_replicas < config.replicas {
        return unfit(
            &format!(
                "it has {} replicas, and the configuration asks for {}",
                found.num_replicas, config.replicas
            ),
            edit(&format!("--replicas={}", config.replicas)),
        );
    }
    if found.retention != RetentionPolicy::Limits {
        return unfit("it does not keep what was read", anew());
    }
    let lossy = found.max_bytes > 0
        || found.max_messages > 0
        || found.max_messages_per_subject > 0
        || !found.max_age.is_zero()
        || found.allow_message_ttl
        || found.allow_rollup;
    if lossy {
        return unfit(
            "it has limits at which messages are lost or refused",
            edit(
                "--max-msgs=-1 --max-bytes=-1 --max-msgs-per-subject=-1 --max-age=-1 --no-allow-rollup --no-allow-msg-ttl",
            ),
        );
    }
    if !found.deny_delete || !found.deny_purge {
        return unfit("messages can be deleted from it", anew());
    }
    if found.no_ack || found.sealed {
        return unfit("it does not acknowledge, or is sealed", anew());
    }
    if found.persist_mode == Some(PersistenceMode::Async) {
        return unfit(
            "it acknowledges before it writes",
            edit("--persist-mode=default"),
        );
    }
    if found.mirror.is_some() || found.sources.is_some() {
        return unfit("it takes messages from other streams", anew());
    }
    if found.republish.is_some() || found.subject_transform.is_some() {
        return unfit(
            "it gives its messages to others",
            edit("--no-republish --no-transform"),
        );
    }
    Ok(())
}

/// The same of what is beside it, from which things are deleted.
fn check_beside(config: &StreamConfig, found: &Config) -> Result<(), StreamError> {
    let unfit = |what: String, flags: &str| {
        Err(StreamError::Unfit {
            stream: found.name.clone(),
            what,
            remedy: format!("nats stream edit {} {flags}", found.name),
        })
    };
    if found.num_replicas < config.replicas {
        let what = format!(
            "it has {} replicas, and the configuration asks for {}",
            found.num_replicas, config.replicas
        );
        return unfit(what, &format!("--replicas={}", config.replicas));
    }
    if found.deny_delete && !found.name.starts_with("KV_") {
        return unfit(
            "nothing can be erased from it".to_owned(),
            "(make it anew with --no-deny-delete)",
        );
    }
    if found.republish.is_some() || found.mirror.is_some() || found.sources.is_some() {
        return unfit(
            "it gives its messages to others, or takes theirs".to_owned(),
            "--no-republish",
        );
    }
    if found.storage != StorageType::File {
        return unfit(
            "it is kept in memory".to_owned(),
            "(make it anew with --storage=file)",
        );
    }
    let lossy = found.max_bytes > 0
        || found.max_messages > 0
        || !found.max_age.is_zero()
        || found.retention != RetentionPolicy::Limits
        || (found.max_messages_per_subject > 0 && !found.name.starts_with("KV_"));
    if found.no_ack || found.sealed || found.persist_mode == Some(PersistenceMode::Async) {
        let what = "it does not acknowledge what it has, or is sealed";
        return unfit(what.to_owned(), "--ack --persist-mode=default");
    }
    if lossy {
        return unfit(
            "it has limits at which what it holds is lost".to_owned(),
            "--max-msgs=-1 --max-bytes=-1 --max-age=-1",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Spoil = fn(&mut Config);

    #[test]
    fn what_would_lose_or_show_the_log_is_named_with_its_remedy() {
        let config = StreamConfig::default();
        assert!(check(&config, &fit(&config)).is_ok());
        let wrong: [(&str, Spoil); 9] = [
            ("replicas", |stream| stream.num_replicas = 1),
            ("memory", |stream| stream.storage = StorageType::Memory),
            ("limits", |stream| stream.max_age = Duration::from_mins(1)),
            ("limits", |stream| stream.max_bytes = 1 << 30),
            ("deleted", |stream| stream.deny_delete = false),
            ("deleted", |stream| stream.deny_purge = false),
            ("subjects", |stream| {
                stream.subjects.push("entente.>".into());
            }),
            ("acknowledge", |stream| stream.no_ack = true),
            ("keep", |stream| {
                stream.retention = RetentionPolicy::WorkQueue;
            }),
        ];
        for (word, spoil) in wrong {
            let mut stream = fit(&config);
            spoil(&mut stream);
            let error = check(&config, &stream).unwrap_err().to_string();
            assert!(
                error.contains(word) && error.contains("remedy: "),
                "{error}"
            );
        }
    }
}
