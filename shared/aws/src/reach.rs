//! How requests travel: through the proxy that the environment names, to whoever the trusted certificates vouch for, and
//! never through a proxy to the metadata of the instance. A failure names host and port.

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::date_time::Format;
use http::Uri;
use http_body_util::Limited;
use hyper_util::client::proxy::matcher::Matcher;
use std::error::Error;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

/// Variables that say where the instance or the container tells of itself.
const METADATA: [&str; 2] = ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
/// Where it does so over IPv6: for instances and for containers.
const METADATA_V6: [&str; 2] = ["[fd00:ec2::254]", "[fd00:ec2::23]"];

/// Bytes of the longest answer: a page of a list, a piece of an archive, a record.
const LONGEST_ANSWER: usize = 96 << 20;
/// Bytes of the longest answer that says why not.
const LONGEST_ERROR: usize = 1 << 20;
/// Seconds that a clock may be wrong by: a century.
const LONGEST_SKEW: u64 = 100 * 366 * 86_400;

/// The client for all requests to AWS, which trusts the certificates of `bundle` instead of the system's, if there is one.
pub(crate) fn client(bundle: Option<Vec<u8>>) -> SharedHttpClient {
    let trusted = match bundle {
        Some(bundle) => TrustStore::empty().with_pem_certificate(bundle),
        None => TrustStore::default(),
    };
    let context =
        TlsContext::builder().with_trust_store(trusted).build().expect("the certificates were looked at before");
    let through = |proxy: ProxyConfig| {
        let context = context.clone();
        Builder::new().build_with_connector_fn(move |settings, components| {
            let mut builder = Connector::builder().proxy_config(proxy.clone());
            builder.set_connector_settings(settings.cloned());
            builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
            builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(context.clone()).build()
        })
    };
    let direct = through(ProxyConfig::disabled());
    let proxied = through(ProxyConfig::from_env());
    let metadata = METADATA.into_iter().filter_map(|name| std::env::var(name).ok()?.parse::<Uri>().ok());
    let metadata = metadata.filter_map(|uri| uri.authority().map(ToString::to_string)).collect();
    SharedHttpClient::new(Ways { direct, proxied, proxies: Arc::new(Matcher::from_env()), metadata })
}

/// Two clients, and what decides between them.
#[derive(Debug)]
struct Ways {
    direct: SharedHttpClient,
    proxied: SharedHttpClient,
    proxies: Arc<Matcher>,
    /// Host and port, as the environment names them.
    metadata: Arc<[String]>,
}

impl HttpClient for Ways {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Way {
            direct: self.direct.http_connector(settings, components),
            proxied: self.proxied.http_connector(settings, components),
            proxies: Arc::clone(&self.proxies),
            metadata: Arc::clone(&self.metadata),
        })
    }
}

#[derive(Debug)]
struct Way {
    direct: SharedHttpConnector,
    proxied: SharedHttpConnector,
    proxies: Arc<Matcher>,
    metadata: Arc<[String]>,
}

impl HttpConnector for Way {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Ok(uri) = request.uri().parse::<Uri>() else { return self.direct.call(request) };
        let own = is_metadata(&uri, &self.metadata);
        let proxy = if own { None } else { self.proxies.intercept(&uri) };
        let place = Place { of: address(&uri), proxy: proxy.as_ref().map(|proxy| address(proxy.uri())) };
        let way = if proxy.is_some() { &self.proxied } else { &self.direct };
        let answer = way.call(request);
        HttpConnectorFuture::new(async move { answer.await.map(sane).map_err(|error| place.name_in(error)) })
    }
}

/// The answer within bounds: the SDK would take whatever comes into memory, and reckon with any time.
fn sane(mut answer: HttpResponse) -> HttpResponse {
    let date = answer.headers().get("date").and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
    let now = DateTime::from(SystemTime::now()).secs();
    if date.is_some_and(|date| date.secs().abs_diff(now) > LONGEST_SKEW) {
        answer.headers_mut().remove("date");
    }
    let most = if answer.status().is_success() { LONGEST_ANSWER } else { LONGEST_ERROR };
    answer.map(|body| SdkBody::from_body_1_x(Limited::new(body, most)))
}

/// Whether the instance or the container tells of itself there.
fn is_metadata(uri: &Uri, named: &[String]) -> bool {
    let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else { return false };
    host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_link_local())
        || METADATA_V6.contains(&host)
        || named.iter().any(|named| named == authority.as_str())
}

fn address(uri: &Uri) -> String {
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    format!("{}:{port}", uri.host().unwrap_or_default())
}

/// Host and port that a request goes to, and those of the proxy on the way.
#[derive(Debug)]
struct Place {
    of: String,
    proxy: Option<String>,
}

impl Place {
    /// The same error, with the place before its causes.
    fn name_in(self, error: ConnectorError) -> ConnectorError {
        let (is_io, is_timeout, is_user, kind) = (error.is_io(), error.is_timeout(), error.is_user(), error.as_other());
        let at = Box::new(Unreachable { place: self, cause: error.into_source() });
        match () {
            () if is_timeout => ConnectorError::timeout(at),
            () if is_user => ConnectorError::user(at),
            () if is_io => ConnectorError::io(at),
            () => ConnectorError::other(at, kind),
        }
    }
}

/// A place that could not be reached, or not be spoken to.
#[derive(Debug)]
pub(crate) struct Unreachable {
    place: Place,
    cause: Box<dyn Error + Send + Sync>,
}

impl Unreachable {
    /// The host and the port that were asked for.
    pub(crate) fn address(&self) -> &str {
        &self.place.of
    }

    #[cfg(test)]
    pub(crate) fn for_test(url: &str, cause: &str) -> Self {
        Self { place: Place { of: address(&url.parse().expect("a URL")), proxy: None }, cause: cause.into() }
    }

    pub(crate) fn is_through_a_proxy(&self) -> bool {
        self.place.proxy.is_some()
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place.proxy {
            Some(proxy) => write!(f, "unable to reach {} through the proxy {proxy}", self.place.of),
            None => write!(f, "unable to reach {}", self.place.of),
        }
    }
}

impl Error for Unreachable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata() {
        let named = ["127.0.0.1:1338".to_owned()];
        for own in [
            "http://169.254.169.254/latest",
            "http://169.254.170.2/x",
            "http://[fd00:ec2::254]/",
            "http://127.0.0.1:1338/",
        ] {
            assert!(is_metadata(&own.parse().unwrap(), &named), "{own}");
        }
        for other in ["http://127.0.0.1:1339/", "https://s3.eu-west-1.amazonaws.com/", "http://[fd00::1]/"] {
            assert!(!is_metadata(&other.parse().unwrap(), &named), "{other}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(address(&"https://s3.eu-west-1.amazonaws.com/x".parse().unwrap()), "s3.eu-west-1.amazonaws.com:443");
        assert_eq!(address(&"http://proxy".parse().unwrap()), "proxy:80");
        assert_eq!(address(&"http://[::1]:8080/".parse().unwrap()), "[::1]:8080");
    }
}
