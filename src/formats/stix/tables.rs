//! What STIX 2.1 says of each type and property, as tables.

/// What an object of a type is: which common properties it must have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Category {
    /// Domain and relationship objects, and the meta objects that are versioned like them.
    Versioned,
    /// Cyber-observable objects.
    Observable,
    /// Marking definitions: never versioned.
    Marking,
}

use Category::{Marking, Observable, Versioned};

/// Every type of the specification with the properties it requires beyond the common ones, and
/// those of which it requires at least one (section 4 to 7).
pub(super) const TYPES: &[(&str, Category, &[&str], &[&str])] = &[
    ("attack-pattern", Versioned, &["name"], &[]),
    ("campaign", Versioned, &["name"], &[]),
    ("course-of-action", Versioned, &["name"], &[]),
    ("grouping", Versioned, &["context", "object_refs"], &[]),
    ("identity", Versioned, &["name"], &[]),
    ("incident", Versioned, &["name"], &[]),
    (
        "indicator",
        Versioned,
        &["pattern", "pattern_type", "valid_from"],
        &[],
    ),
    ("infrastructure", Versioned, &["name"], &[]),
    ("intrusion-set", Versioned, &["name"], &[]),
    (
        "location",
        Versioned,
        &[],
        &["region", "country", "latitude"],
    ),
    ("malware", Versioned, &["is_family"], &[]),
    (
        "malware-analysis",
        Versioned,
        &["product"],
        &["result", "analysis_sco_refs"],
    ),
    ("note", Versioned, &["content", "object_refs"], &[]),
    (
        "observed-data",
        Versioned,
        &["first_observed", "last_observed", "number_observed"],
        &["objects", "object_refs"],
    ),
    ("opinion", Versioned, &["opinion", "object_refs"], &[]),
    (
        "report",
        Versioned,
        &["name", "published", "object_refs"],
        &[],
    ),
    ("threat-actor", Versioned, &["name"], &[]),
    ("tool", Versioned, &["name"], &[]),
    ("vulnerability", Versioned, &["name"], &[]),
    (
        "relationship",
        Versioned,
        &["relationship_type", "source_ref", "target_ref"],
        &[],
    ),
    ("sighting", Versioned, &["sighting_of_ref"], &[]),
    (
        "language-content",
        Versioned,
        &["object_ref", "contents"],
        &[],
    ),
    (
        "extension-definition",
        Versioned,
        &[
            "name",
            "schema",
            "version",
            "extension_types",
            "created_by_ref",
        ],
        &[],
    ),
    (
        "marking-definition",
        Marking,
        &[],
        &["definition", "extensions"],
    ),
    ("artifact", Observable, &[], &["payload_bin", "url"]),
    ("autonomous-system", Observable, &["number"], &[]),
    ("directory", Observable, &["path"], &[]),
    ("domain-name", Observable, &["value"], &[]),
    ("email-addr", Observable, &["value"], &[]),
    ("email-message", Observable, &["is_multipart"], &[]),
    ("file", Observable, &[], &["name", "hashes"]),
    ("ipv4-addr", Observable, &["value"], &[]),
    ("ipv6-addr", Observable, &["value"], &[]),
    ("mac-addr", Observable, &["value"], &[]),
    ("mutex", Observable, &["name"], &[]),
    (
        "network-traffic",
        Observable,
        &["protocols"],
        &["src_ref", "dst_ref"],
    ),
    ("process", Observable, &[], &[]),
    ("software", Observable, &["name"], &[]),
    ("url", Observable, &["value"], &[]),
    ("user-account", Observable, &[], &[]),
    ("windows-registry-key", Observable, &[], &[]),
    ("x509-certificate", Observable, &[], &[]),
];

/// Properties that are strings in every type of the specification.
pub(super) const STRINGS: &[&str] = &[
    "name",
    "description",
    "pattern",
    "pattern_type",
    "pattern_version",
    "context",
    "content",
    "abstract",
    "explanation",
    "opinion",
    "relationship_type",
    "identity_class",
    "contact_information",
    "objective",
    "product",
    "result",
    "lang",
    "definition_type",
    "schema",
    "country",
    "region",
    "administrative_area",
    "city",
    "street_address",
    "postal_code",
    "tool_version",
    "resource_level",
    "primary_motivation",
    "sophistication",
];

/// Properties that are timestamps in every type of the specification.
pub(super) const TIMESTAMPS: &[&str] = &[
    "created",
    "modified",
    "valid_from",
    "valid_until",
    "first_seen",
    "last_seen",
    "first_observed",
    "last_observed",
    "published",
    "start_time",
    "stop_time",
    "submitted",
    "analysis_started",
    "analysis_ended",
    "ctime",
    "mtime",
    "atime",
    "start",
    "end",
    "created_time",
    "modified_time",
    "account_created",
    "account_expires",
    "credential_last_changed",
    "account_first_login",
    "account_last_login",
    "validity_not_before",
    "validity_not_after",
    "object_modified",
];

/// Properties that are booleans.
pub(super) const BOOLEANS: &[&str] = &[
    "revoked",
    "is_family",
    "is_multipart",
    "defanged",
    "summary",
];

/// Properties that are lists of strings.
pub(super) const LISTS: &[&str] = &[
    "labels",
    "aliases",
    "roles",
    "sectors",
    "goals",
    "indicator_types",
    "malware_types",
    "report_types",
    "tool_types",
    "threat_actor_types",
    "infrastructure_types",
    "secondary_motivations",
    "protocols",
    "authors",
    "extension_types",
    "architecture_execution_envs",
    "implementation_languages",
    "capabilities",
];

/// Pairs of times; the later one must not come first, and where `true` must be later.
pub(super) const ORDERED: &[(&str, &str, bool)] = &[
    ("created", "modified", false),
    ("valid_from", "valid_until", true),
    ("first_seen", "last_seen", false),
    ("first_observed", "last_observed", false),
    ("start_time", "stop_time", true),
    ("start", "end", false),
    ("analysis_started", "analysis_ended", false),
];

/// Hash algorithms of known length, in hexadecimal digits.
pub(super) const HASHES: &[(&str, usize)] = &[
    ("MD5", 32),
    ("SHA-1", 40),
    ("SHA-256", 64),
    ("SHA-512", 128),
    ("SHA3-256", 64),
    ("SHA3-512", 128),
];

/// References whose target's type is fixed.
pub(super) const TARGETS: &[(&str, &str)] = &[
    ("created_by_ref", "identity"),
    ("object_marking_refs", "marking-definition"),
];

/// Properties that mean the same in every type, custom ones too.
pub(super) const COMMON: &[&str] = &[
    "created",
    "modified",
    "created_by_ref",
    "revoked",
    "labels",
    "confidence",
    "lang",
    "external_references",
    "object_marking_refs",
    "granular_markings",
    "defanged",
];
