//! The endpoints over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::access::{Access, Presented};
use super::filter::{Filter, InvalidQuery, Known};
use super::media;
use super::page::{self, Page};
use super::resource::{
    ApiRoot, Collection, Collections, Envelope, Manifest, ManifestRecord, VersionList, error,
};
use super::route::{Endpoint, Route, route};
use super::store::{AddError, Client, Entry, Fault, Place, Store, Waiting};
use super::version::timestamp;
use crate::transport::{HttpLimits, PeerCertificate, Tls, serve_http, serve_https};

/// Names and passwords that are verified at once: each costs a good part of a second of a processor.
const VERIFYING: usize = 2;
/// And so many wait for that. More are turned away: whoever tries passwords keeps nobody out who has logged
/// in before.
const WAITING: usize = 8;
/// Requests that look into the store at once; others wait, in their time.
const WALKING: usize = 8;
/// Bytes of objects after which a page ends, with `more`: a page has one object at least, and is answered
/// from memory.
const MAX_PAGE: usize = 8 * 1024 * 1024;
/// Bodies are read up to so many times what is taken, and thrown away: a client that is told 413 only after
/// it has sent everything hears it.
const DRAINED: u64 = 4;
/// What `serve_http` lets through; the API root's own limit is applied before.
const MAX_BODY: usize = 1024 * 1024 * 1024;
const FIRST: &str = "x-taxii-date-added-first";
const LAST: &str = "x-taxii-date-added-last";

/// A TAXII server without its listener.
#[derive(Clone)]
pub struct Taxii {
    store: Arc<dyn Store>,
    access: Arc<Access>,
    /// Entries on a page at most.
    page: usize,
    verifying: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    walking: Arc<Semaphore>,
}

impl std::fmt::Debug for Taxii {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Taxii")
    }
}

impl Taxii {
    /// Serves a store to whom `access` knows, `page` entries at a time.
    pub fn new(store: Arc<dyn Store>, access: Access, page: usize) -> Self {
        Self {
            store,
            access: Arc::new(access),
            page: page.max(1),
            verifying: Arc::new(Semaphore::new(VERIFYING)),
            waiting: Arc::new(Semaphore::new(VERIFYING + WAITING)),
            walking: Arc::new(Semaphore::new(WALKING)),
        }
    }
}

/// Serves until it is told to stop.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    taxii: Taxii,
    limits: HttpLimits,
    stop: CancellationToken,
) {
    let routes = Router::new().fallback(handle).with_state(taxii);
    match tls {
        Some(tls) => serve_https(listener, tls, routes, limits, MAX_BODY, stop).await,
        None => serve_http(listener, routes, limits, MAX_BODY, stop).await,
    }
}

/// Why a request is not answered with what it asks for.
enum Refusal {
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden(&'static str),
    /// 404.
    NotFound,
    /// 405.
    Method(&'static [Method]),
    /// 406.
    NotAcceptable,
    /// 413.
    TooLarge(u64),
    /// 415.
    MediaType,
    /// 400.
    Query(InvalidQuery),
    /// 400.
    Body(&'static str),
    /// 422.
    Unprocessable(String),
    /// 500.
    Fault(Fault),
    /// 503.
    Busy,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<InvalidQuery> for Refusal {
    fn from(error: InvalidQuery) -> Self {
        Self::Query(error)
    }
}

impl From<AddError> for Refusal {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Unprocessable(reason) => Self::Unprocessable(reason),
            AddError::Fault(fault) => Self::Fault(fault),
        }
    }
}

impl Refusal {
    fn told(&self) -> (StatusCode, &'static str, String) {
        match self {
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "Unauthorized",
                "this server needs a name and password, a bearer token or a client certificate that it \
                 knows"
                    .to_owned(),
            ),
            Self::Forbidden(what) => (
                StatusCode::FORBIDDEN,
                "Forbidden",
                format!("this client may not {what}"),
            ),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "NotFound",
                "there is nothing here for this client".to_owned(),
            ),
            Self::Method(methods) => {
                let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
                let names = names.join(", ");
                let status = StatusCode::METHOD_NOT_ALLOWED;
                (status, "MethodNotAllowed", format!("here is only {names}"))
            }
            Self::NotAcceptable => (
                StatusCode::NOT_ACCEPTABLE,
                "NotAcceptable",
                format!("the Accept header has to name {}", media::TAXII),
            ),
            Self::TooLarge(limit) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "PayloadTooLarge",
                format!("at most {limit} bytes are taken here (max_content_length)"),
            ),
            Self::MediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UnsupportedMediaType",
                format!("the Content-Type has to be {}", media::TAXII),
            ),
            Self::Query(error) => (
                StatusCode::BAD_REQUEST,
                "ProcessingError",
                format!("The server did not understand the request or filter parameters: {error}"),
            ),
            Self::Body(reason) => (
                StatusCode::BAD_REQUEST,
                "ProcessingError",
                (*reason).to_owned(),
            ),
            Self::Unprocessable(reason) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "ProcessingError",
                format!("While processing supplied content, an error occurred: {reason}"),
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "too many names and passwords are being verified; try again".to_owned(),
            ),
            Self::Fault(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalServerError",
                "the server cannot answer now; its operator finds the reason in its log".to_owned(),
            ),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, title, description) = self.told();
        let mut response = json(status, &error(status.as_u16(), title, &description));
        let headers = response.headers_mut();
        match &self {
            Self::Unauthorized => {
                let basic = HeaderValue::from_static("Basic realm=\"taxii\", charset=\"UTF-8\"");
                headers.append(header::WWW_AUTHENTICATE, basic);
                let bearer = HeaderValue::from_static("Bearer realm=\"taxii\"");
                headers.append(header::WWW_AUTHENTICATE, bearer);
            }
            Self::Method(methods) => {
                let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
                if let Ok(value) = HeaderValue::from_str(&names.join(", ")) {
                    headers.insert(header::ALLOW, value);
                }
            }
            Self::Busy => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::Fault(fault) => tracing::error!(%fault, "a TAXII request cannot be answered"),
            _ => {}
        }
        response
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, taxii(), body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn taxii() -> [(header::HeaderName, HeaderValue); 1] {
    [(header::CONTENT_TYPE, HeaderValue::from_static(media::TAXII))]
}

async fn handle(State(taxii): State<Taxii>, request: Request) -> Response {
    match answer(taxii, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

/// What a request asks, once its client is known and its form is right.
struct Asked {
    client: Client,
    endpoint: Endpoint,
    method: Method,
    /// The resource, as the client named it.
    path: String,
    query: String,
    waiting: Waiting,
}

async fn answer(taxii: Taxii, request: Request) -> Result<Response, Refusal> {
    let (request, body) = request.into_parts();
    let client = authenticate(&taxii, &request).await?;
    let headers = &request.headers;
    if !media::accepts(texts(headers, &header::ACCEPT)) {
        return Err(Refusal::NotAcceptable);
    }
    let method = request.method;
    let posted = method == Method::POST;
    if posted && !media::is_taxii(texts(headers, &header::CONTENT_TYPE).next()) {
        return Err(Refusal::MediaType);
    }
    let query = request.uri.query().unwrap_or_default().to_owned();
    let path = request.uri.path().to_owned();
    let endpoint = match route(&path) {
        Route::Found(endpoint) => endpoint,
        Route::Slash(path) => return Ok(redirect(&path, &query)),
        Route::Nothing => return Err(Refusal::NotFound),
    };
    if !endpoint.methods().contains(&method) {
        return Err(Refusal::Method(endpoint.methods()));
    }
    let asked = Asked {
        client,
        endpoint,
        method,
        path,
        query,
        waiting: Waiting::default(),
    };
    // Where the answer comes too late, this ends before the work does, which looks at it.
    let _waits = asked.waiting.0.clone().drop_guard();
    if posted {
        return add(taxii, asked, body).await;
    }
    let walking = Arc::clone(&taxii.walking);
    blocking(&walking, move || get(&taxii, &asked)).await
}

fn texts<'a>(
    headers: &'a HeaderMap,
    name: &header::HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok())
}

async fn authenticate(taxii: &Taxii, request: &Parts) -> Result<Client, Refusal> {
    let header = request.headers.get(header::AUTHORIZATION);
    let header = header.and_then(|value| value.to_str().ok());
    let certificate = request.extensions.get::<PeerCertificate>();
    let certificate = certificate.map(|shown| shown.0.clone());
    let known = match taxii.access.recognise(Presented::read(header, certificate)) {
        Ok(known) => known,
        Err((user, password)) => {
            let _waits = taxii.waiting.try_acquire().map_err(|_| Refusal::Busy)?;
            // Ends with the server only.
            let place = Arc::clone(&taxii.verifying).acquire_owned().await.ok();
            let access = Arc::clone(&taxii.access);
            let verified = tokio::task::spawn_blocking(move || {
                let client = access.verify(&user, &password);
                drop(place);
                client
            });
            verified.await.unwrap_or_default()
        }
    };
    known.ok_or(Refusal::Unauthorized)
}

/// Works where it may block. Its place is taken until the work ends, not until nobody waits for it any more:
/// whoever asks again and again leaves threads for the rest of the node.
async fn blocking<T: Send + 'static>(
    walking: &Arc<Semaphore>,
    act: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    // Ends with the server only.
    let place = Arc::clone(walking).acquire_owned().await.ok();
    let done = tokio::task::spawn_blocking(move || {
        let done = act();
        drop(place);
        done
    });
    let done = done.await;
    done.unwrap_or_else(|_| Err(Fault::new("a request failed").into()))
}

/// To the path that ends in a slash, with the same method and body (RFC 9110, 15.4.9).
fn redirect(path: &str, query: &str) -> Response {
    let to = match query {
        "" => path.to_owned(),
        query => format!("{path}?{query}"),
    };
    let Ok(to) = HeaderValue::from_str(&to) else {
        return Refusal::NotFound.into_response();
    };
    let status = StatusCode::PERMANENT_REDIRECT;
    (status, taxii(), [(header::LOCATION, to)]).into_response()
}

/// Everything but adding.
fn get(taxii: &Taxii, asked: &Asked) -> Result<Response, Refusal> {
    let client = &asked.client;
    match &asked.endpoint {
        Endpoint::Discovery => Ok(json(StatusCode::OK, &taxii.store.discovery(client)?)),
        Endpoint::ApiRoot { root } => Ok(json(StatusCode::OK, &api_root(taxii, client, root)?)),
        Endpoint::Status { root, id } => {
            api_root(taxii, client, root)?;
            let status = taxii.store.status(client, root, id)?;
            Ok(json(StatusCode::OK, &status.ok_or(Refusal::NotFound)?))
        }
        Endpoint::Collections { root } => {
            api_root(taxii, client, root)?;
            let collections = taxii.store.collections(client, root, &asked.waiting)?;
            Ok(json(StatusCode::OK, &Collections { collections }))
        }
        Endpoint::Collection { root, collection } => {
            let (_, found) = find(taxii, asked, root, collection)?;
            Ok(json(StatusCode::OK, &found))
        }
        Endpoint::Manifest { root, collection } => {
            let at = readable(taxii, asked, root, collection)?;
            manifest(taxii, asked, &at)
        }
        Endpoint::Objects { root, collection } => {
            let at = readable(taxii, asked, root, collection)?;
            let filter = filter(asked, Known::Objects)?;
            let page = paged(taxii, asked, &at, &filter)?;
            envelope(taxii, asked, &at, &filter, page)
        }
        Endpoint::Object {
            root,
            collection,
            object,
        } if asked.method == Method::DELETE => {
            let at = deletable(taxii, asked, root, collection)?;
            let filter = filter(asked, Known::Delete)?;
            let entries = known(taxii, asked, &at, object)?;
            let entries = page::wanted(entries, &filter);
            if entries.is_empty() {
                return Err(Refusal::NotFound);
            }
            taxii.store.delete(client, &at, &entries)?;
            Ok((StatusCode::OK, self::taxii()).into_response())
        }
        Endpoint::Object {
            root,
            collection,
            object,
        } => {
            let at = readable(taxii, asked, root, collection)?;
            let filter = filter(asked, Known::Object)?;
            let page = of_object(taxii, asked, &at, &filter, object)?;
            envelope(taxii, asked, &at, &filter, page)
        }
        Endpoint::Versions {
            root,
            collection,
            object,
        } => {
            let at = readable(taxii, asked, root, collection)?;
            let filter = filter(asked, Known::Versions)?;
            let page = of_object(taxii, asked, &at, &filter, object)?;
            Ok(versions(&filter, &page))
        }
    }
}

fn api_root(taxii: &Taxii, client: &Client, root: &str) -> Result<ApiRoot, Refusal> {
    let found = taxii.store.api_root(client, root)?;
    found.ok_or(Refusal::NotFound)
}

/// A collection, by its id or alias.
fn find(
    taxii: &Taxii,
    asked: &Asked,
    root: &str,
    name: &str,
) -> Result<(Place, Collection), Refusal> {
    let (client, waiting) = (&asked.client, &asked.waiting);
    api_root(taxii, client, root)?;
    let collections = taxii.store.collections(client, root, waiting)?;
    let by_id = collections.iter().position(|one| one.id == name);
    let mut all = collections.iter();
    let found = by_id.or_else(|| all.position(|one| one.alias.as_deref() == Some(name)));
    let found = found.and_then(|at| collections.into_iter().nth(at));
    let found = found.ok_or(Refusal::NotFound)?;
    let place = Place {
        root: root.to_owned(),
        collection: found.id.clone(),
    };
    Ok((place, found))
}

fn readable(taxii: &Taxii, asked: &Asked, root: &str, name: &str) -> Result<Place, Refusal> {
    let (place, collection) = find(taxii, asked, root, name)?;
    if !collection.can_read {
        return Err(Refusal::Forbidden("read this collection"));
    }
    Ok(place)
}

/// The table of section 5.7.
fn deletable(taxii: &Taxii, asked: &Asked, root: &str, name: &str) -> Result<Place, Refusal> {
    let (place, collection) = find(taxii, asked, root, name)?;
    match (collection.can_read, collection.can_write) {
        (true, true) => Ok(place),
        (false, false) => Err(Refusal::NotFound),
        _ => Err(Refusal::Forbidden("delete in this collection")),
    }
}

fn filter(asked: &Asked, known: Known) -> Result<Filter, InvalidQuery> {
    Filter::read(&asked.query, known, &asked.path)
}

fn paged(taxii: &Taxii, asked: &Asked, at: &Place, filter: &Filter) -> Result<Page, Fault> {
    let limit = filter.limit.unwrap_or(taxii.page).min(taxii.page);
    let (store, waiting) = (taxii.store.as_ref(), &asked.waiting);
    page::page(store, &asked.client, at, filter, limit, waiting)
}

/// The entries of an object that is there. One that is not releasable to this client is as unknown to it as
/// one that never was.
fn known(taxii: &Taxii, asked: &Asked, at: &Place, object: &str) -> Result<Vec<Entry>, Refusal> {
    let (client, waiting) = (&asked.client, &asked.waiting);
    let entries = taxii.store.versions(client, at, object, waiting)?;
    if entries.is_empty() {
        return Err(Refusal::NotFound);
    }
    Ok(entries)
}

/// A page of one object's entries; empty where filters leave none over.
fn of_object(
    taxii: &Taxii,
    asked: &Asked,
    at: &Place,
    filter: &Filter,
    object: &str,
) -> Result<Page, Refusal> {
    known(taxii, asked, at, object)?;
    let mut filter = filter.clone();
    filter.ids = Some([object.to_owned()].into());
    Ok(paged(taxii, asked, at, &filter)?)
}

fn envelope(
    taxii: &Taxii,
    asked: &Asked,
    at: &Place,
    filter: &Filter,
    mut page: Page,
) -> Result<Response, Refusal> {
    let (client, waiting) = (&asked.client, &asked.waiting);
    let mut objects = Vec::with_capacity(page.entries.len());
    let (mut bytes, mut taken) = (0_usize, 0);
    for entry in &page.entries {
        waiting.check()?;
        let object = taxii.store.content(client, at, entry, waiting)?;
        bytes += object.as_ref().map_or(0, |object| object.get().len());
        if bytes > MAX_PAGE && taken > 0 {
            break;
        }
        objects.extend(object);
        taken += 1;
    }
    page.more |= taken < page.entries.len();
    page.entries.truncate(taken);
    let envelope = Envelope {
        more: more(&page),
        next: next(filter, &page),
        objects,
    };
    Ok(dated(&page, json(StatusCode::OK, &envelope)))
}

fn manifest(taxii: &Taxii, asked: &Asked, at: &Place) -> Result<Response, Refusal> {
    let filter = filter(asked, Known::Objects)?;
    let page = paged(taxii, asked, at, &filter)?;
    let record = |entry: &Entry| ManifestRecord {
        id: entry.id.clone(),
        date_added: timestamp(entry.position.date_added),
        version: entry.version.as_str().to_owned(),
        media_type: entry.spec_version.media_type(),
    };
    let manifest = Manifest {
        more: more(&page),
        next: next(&filter, &page),
        objects: page.entries.iter().map(record).collect(),
    };
    Ok(dated(&page, json(StatusCode::OK, &manifest)))
}

fn versions(filter: &Filter, page: &Page) -> Response {
    let text = |entry: &Entry| entry.version.as_str().to_owned();
    let versions = VersionList {
        more: more(page),
        next: next(filter, page),
        versions: page.entries.iter().map(text).collect(),
    };
    dated(page, json(StatusCode::OK, &versions))
}

/// Said where there is something.
fn more(page: &Page) -> Option<bool> {
    (!page.entries.is_empty()).then_some(page.more)
}

fn next(filter: &Filter, page: &Page) -> Option<String> {
    let last = page.entries.last().filter(|_| page.more);
    last.map(|last| filter.token(last.position))
}

/// With the headers of section 3.2. Of nothing there is no first and no last.
fn dated(page: &Page, mut response: Response) -> Response {
    for (name, entry) in [(FIRST, page.entries.first()), (LAST, page.entries.last())] {
        let date = entry.map(|entry| timestamp(entry.position.date_added));
        if let Some(value) = date.and_then(|date| HeaderValue::from_str(&date).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A request to add objects (section 5.5).
async fn add(taxii: Taxii, asked: Asked, body: Body) -> Result<Response, Refusal> {
    let (root, collection) = match &asked.endpoint {
        Endpoint::Objects { root, collection } => (root.clone(), collection.clone()),
        // No other takes this method.
        _ => return Err(Refusal::NotFound),
    };
    let server = taxii.clone();
    let walking = Arc::clone(&taxii.walking);
    let looked = blocking(&walking, move || {
        let max = api_root(&server, &asked.client, &root)?.max_content_length;
        let (place, found) = find(&server, &asked, &root, &collection)?;
        if !found.can_write {
            return Err(Refusal::Forbidden("add to this collection"));
        }
        Ok((asked, max, place))
    });
    let (asked, limit, place) = looked.await?;
    let body = read(body, limit).await?;
    blocking(&walking, move || {
        let objects = objects(&body)?;
        let store = &taxii.store;
        let status = store.add(&asked.client, &place, &objects, &asked.waiting)?;
        Ok(json(StatusCode::ACCEPTED, &status))
    })
    .await
}

/// A body of at most `limit` bytes. A larger one is read on and thrown away, within reason.
async fn read(mut body: Body, limit: u64) -> Result<Bytes, Refusal> {
    let mut kept = Vec::new();
    let mut length: u64 = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Body("the body broke off"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length = length.saturating_add(data.len() as u64);
        if length <= limit {
            kept.extend_from_slice(&data);
        } else {
            kept = Vec::new();
        }
        if length > limit.saturating_mul(DRAINED) {
            break;
        }
    }
    if length > limit {
        return Err(Refusal::TooLarge(limit));
    }
    Ok(kept.into())
}

#[derive(Deserialize)]
struct RawEnvelope<'a> {
    #[serde(borrow, default)]
    objects: Vec<&'a RawValue>,
}

/// The objects of an envelope, each as its own bytes. Properties that are not known are ignored (7.1.1).
fn objects(body: &[u8]) -> Result<Vec<&RawValue>, Refusal> {
    let malformed = |error: &dyn std::fmt::Display| {
        Refusal::Unprocessable(format!("the body is no TAXII envelope: {error}"))
    };
    let text = std::str::from_utf8(body).map_err(|error| malformed(&error))?;
    let envelope: RawEnvelope<'_> =
        serde_json::from_str(text).map_err(|error| malformed(&error))?;
    if envelope.objects.is_empty() {
        return Err(malformed(&"it has no objects"));
    }
    Ok(envelope.objects)
}
