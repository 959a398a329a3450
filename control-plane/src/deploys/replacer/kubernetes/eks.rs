//! The token by which EKS knows a caller: a signed request for the caller's identity, which the cluster sends to AWS.
//!
//! The format is that of `aws eks get-token`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use store::dynamodb::{Connection, shared_config};

use super::settings::Eks;
use crate::clock::now_s;

const PREFIX: &str = "k8s-aws-v1.";
const CLUSTER: &str = "x-k8s-aws-id";
/// EKS takes no other value; the token itself is good for 15 minutes.
const EXPIRES: Duration = Duration::from_secs(60);

pub async fn token(cluster: &Eks) -> Result<String> {
    let connection = Connection { endpoint: None, region: cluster.region.clone(), role: cluster.role.clone() };
    let config = shared_config(&connection).await;
    let provider = config.credentials_provider().context("no credentials of AWS are configured")?;
    let credentials = provider.provide_credentials().await.context("no credentials of AWS")?;
    signed(cluster, credentials, UNIX_EPOCH + Duration::from_secs(now_s()))
}

pub fn signed(cluster: &Eks, credentials: Credentials, now: SystemTime) -> Result<String> {
    let host = format!("sts.{}.amazonaws.com", cluster.region);
    let question = format!("https://{host}/?Action=GetCallerIdentity&Version=2011-06-15");
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(EXPIRES);
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&cluster.region)
        .name("sts")
        .time(now)
        .settings(settings)
        .build()?
        .into();
    let headers = [("host", host.as_str()), (CLUSTER, cluster.name.as_str())];
    let request = SignableRequest::new("GET", &question, headers.into_iter(), SignableBody::Bytes(&[]))?;
    let (instructions, _) = sign(request, &params)?.into_parts();
    let mut url = question;
    for (name, value) in instructions.params() {
        let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
        url.push_str(&format!("&{name}={value}"));
    }
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(url)))
}
