//! Paths (section 3.1): which endpoint a request is for.

use axum::http::Method;
use percent_encoding::percent_decode_str;

/// The longest segment of a path, in bytes. A type has at most 250, an id 36 more and two dashes.
const MAX_SEGMENT: usize = 300;

/// An endpoint of TAXII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Discovery,
    ApiRoot {
        root: String,
    },
    Status {
        root: String,
        id: String,
    },
    Collections {
        root: String,
    },
    Collection {
        root: String,
        collection: String,
    },
    Manifest {
        root: String,
        collection: String,
    },
    Objects {
        root: String,
        collection: String,
    },
    Object {
        root: String,
        collection: String,
        object: String,
    },
    Versions {
        root: String,
        collection: String,
        object: String,
    },
}

/// A path, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Found(Endpoint),
    /// The slash is missing at its end: this is the path that has it.
    Slash(String),
    Nothing,
}

impl Endpoint {
    /// What may be done there.
    pub(super) fn methods(&self) -> &'static [Method] {
        const GET: &[Method] = &[Method::GET, Method::HEAD];
        const ADD: &[Method] = &[Method::GET, Method::HEAD, Method::POST];
        const DELETE: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE];
        match self {
            Self::Objects { .. } => ADD,
            Self::Object { .. } => DELETE,
            _ => GET,
        }
    }
}

/// Reads a path.
pub(super) fn route(path: &str) -> Route {
    let Some(inside) = path.strip_prefix('/') else {
        return Route::Nothing;
    };
    let (inside, slash) = match inside.strip_suffix('/') {
        Some(inside) => (inside, true),
        None => (inside, false),
    };
    let mut segments = Vec::new();
    // One more than any endpoint has.
    for segment in inside.split('/').take(7) {
        let decoded = percent_decode_str(segment).decode_utf8();
        match decoded {
            Ok(decoded) if !decoded.is_empty() && decoded.len() <= MAX_SEGMENT => {
                segments.push(decoded.into_owned());
            }
            _ => return Route::Nothing,
        }
    }
    match endpoint(&segments) {
        None => Route::Nothing,
        Some(endpoint) if slash => Route::Found(endpoint),
        // Every segment is there, so it begins with one slash, and leads nowhere else.
        Some(_) => Route::Slash(format!("/{inside}/")),
    }
}

fn endpoint(segments: &[String]) -> Option<Endpoint> {
    let words: Vec<&str> = segments.iter().map(String::as_str).collect();
    let text = |text: &str| text.to_owned();
    Some(match *words.as_slice() {
        ["taxii2"] => Endpoint::Discovery,
        ["taxii2", ..] => return None,
        [root] => Endpoint::ApiRoot { root: text(root) },
        [root, "status", id] => Endpoint::Status {
            root: text(root),
            id: text(id),
        },
        [root, "collections"] => Endpoint::Collections { root: text(root) },
        [root, "collections", collection] => Endpoint::Collection {
            root: text(root),
            collection: text(collection),
        },
        [root, "collections", collection, "manifest"] => Endpoint::Manifest {
            root: text(root),
            collection: text(collection),
        },
        [root, "collections", collection, "objects"] => Endpoint::Objects {
            root: text(root),
            collection: text(collection),
        },
        [root, "collections", collection, "objects", object] => Endpoint::Object {
            root: text(root),
            collection: text(collection),
            object: text(object),
        },
        [
            root,
            "collections",
            collection,
            "objects",
            object,
            "versions",
        ] => Endpoint::Versions {
            root: text(root),
            collection: text(collection),
            object: text(object),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_ends_in_a_slash() {
        let root = || "api1".to_owned();
        assert_eq!(route("/taxii2/"), Route::Found(Endpoint::Discovery));
        assert_eq!(
            route("/api1/"),
            Route::Found(Endpoint::ApiRoot { root: root() })
        );
        assert_eq!(
            route("/api1/collections/a%20b/objects/x--1/versions/"),
            Route::Found(Endpoint::Versions {
                root: root(),
                collection: "a b".into(),
                object: "x--1".into()
            })
        );
        assert_eq!(
            route("/api1/collections"),
            Route::Slash("/api1/collections/".into())
        );
        for path in [
            "",
            "/",
            "//",
            "//api1/collections",
            "//evil.example",
            "/taxii2/collections/",
            "/api1/collections//",
            "/api1/collections/a/manifest/x/",
            "/api1/collections/a/objects/o/versions/1/",
            "/api1/collections/%ff/",
        ] {
            assert_eq!(route(path), Route::Nothing, "{path}");
        }
        let long = format!("/api1/collections/{}/", "a".repeat(301));
        assert_eq!(route(&long), Route::Nothing);
    }
}
