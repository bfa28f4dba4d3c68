//! Parts shared by the providers' HTTP APIs.

use std::time::Duration;

use reqwest::StatusCode;
use ring::hmac;
use serde_json::Value;

/// Longer than callers wait for a provider, so that a caller always gives up first.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The outcome of an HTTP request.
pub enum Sent {
    /// It certainly was not sent.
    Not,
    /// Whether it arrived, and with what result, is unknown.
    Unknown,
    /// A well-formed response.
    Answered(StatusCode, Value),
}

/// An HTTP client that follows no redirects.
pub fn client() -> reqwest::Result<reqwest::Client> {
    // Two TLS backends are compiled in; a failure means that one was already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(TIMEOUT)
        .connect_timeout(Duration::from_secs(3))
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// Sends a request.
pub async fn send(request: reqwest::RequestBuilder) -> Sent {
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if error.is_connect() => return Sent::Not,
        Err(_) => return Sent::Unknown,
    };
    let status = answer.status();
    match answer.json().await {
        Ok(body) => Sent::Answered(status, body),
        Err(_) => Sent::Unknown,
    }
}

/// A text field of a response.
pub fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// Whether `sum`, in hex, is the HMAC-SHA256 of `signed` with `secret`. Always false with an empty secret.
pub fn is_signed(secret: &str, signed: &[u8], sum: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    !secret.is_empty() && unhex(sum).is_some_and(|sum| hmac::verify(&key, signed, &sum).is_ok())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
