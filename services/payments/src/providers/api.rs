//! What providers' HTTP APIs have in common.

use std::time::Duration;

use reqwest::StatusCode;
use ring::hmac;
use serde_json::Value;

/// Longer than a provider is waited for: whoever waits gives up first.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What came of a request.
pub enum Sent {
    /// It certainly did not leave us.
    Not,
    /// Nobody knows whether it arrived, or what came of it.
    Unknown,
    /// An answer that reads.
    Answered(StatusCode, Value),
}

/// A client that follows no redirects.
pub fn client() -> reqwest::Result<reqwest::Client> {
    // Two ways to do TLS are compiled in; whoever was first has chosen.
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

/// A text in an answer.
pub fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// Whether `sum`, in hex, is the HMAC-SHA256 of `signed` by `secret`; an empty secret signs nothing.
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
