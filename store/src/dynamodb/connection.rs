//! How clients reach AWS, or what replaces it, and with the rights of which role.

use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};

/// Shown in the account of a role by its audit trail, beside the role.
const SESSION_NAME: &str = "wallet";

/// How to reach a cell's tables. Without an endpoint it is AWS, with the credentials of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Connection {
    pub endpoint: Option<String>,
    pub region: String,
    /// ARN of the role to become first: tables of another account are open to a role of that account only.
    pub role: Option<String>,
}

/// What every client of AWS shares: where it is, and which credentials are used. With a plain
/// endpoint and no role it is a local stand-in, which checks no credentials; otherwise the
/// environment's (container, web identity or instance credentials, or variables) are used, or those
/// that they get for the role, renewed before they end.
pub async fn shared_config(connection: &Connection) -> SdkConfig {
    let base = base_config(connection).await;
    let Some(role) = &connection.role else { return with_endpoint(base, connection) };
    // The role is asked for at AWS, wherever the tables are.
    let role = AssumeRoleProvider::builder(role).session_name(SESSION_NAME).configure(&base).build().await;
    let base = base.into_builder().credentials_provider(SharedCredentialsProvider::new(role)).build();
    with_endpoint(base, connection)
}

async fn base_config(connection: &Connection) -> SdkConfig {
    let defaults = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(connection.region.clone()));
    let is_plain = connection.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    if is_plain && connection.role.is_none() {
        let unchecked = Credentials::new("local", "local", None, None, "local endpoint");
        let plain = aws_smithy_http_client::Builder::new().build_http();
        return defaults.credentials_provider(unchecked).http_client(plain).load().await;
    }
    let ring = aws_smithy_http_client::tls::rustls_provider::CryptoMode::Ring;
    let tls = aws_smithy_http_client::Builder::new()
        .tls_provider(aws_smithy_http_client::tls::Provider::Rustls(ring))
        .build_https();
    defaults.http_client(tls).load().await
}

fn with_endpoint(config: SdkConfig, connection: &Connection) -> SdkConfig {
    match &connection.endpoint {
        Some(endpoint) => config.into_builder().endpoint_url(endpoint).build(),
        None => config,
    }
}

/// [`shared_config`] for the tables.
pub async fn client_config(connection: &Connection) -> aws_sdk_dynamodb::config::Builder {
    aws_sdk_dynamodb::config::Builder::from(&shared_config(connection).await)
}
