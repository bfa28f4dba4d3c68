//! `perdiem account list|get`

use proto::account::v1 as pb;

use crate::Failure;
use crate::connect::{Clients, instant, refused};
use crate::show::{self, Output};

/// The newest accounts, at most `limit`: of a profile and below an account, or of all where these are empty.
pub async fn list(
    clients: &Clients,
    (profile, parent): (&str, &str),
    limit: usize,
) -> Result<Vec<pb::Account>, Failure> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    while found.len() < limit {
        let request = pb::ListAccountsRequest {
            parent_account_id: parent.to_owned(),
            profile_code: profile.to_owned(),
            page_size: i32::try_from(limit - found.len()).unwrap_or(500).min(500),
            page_token,
            ..pb::ListAccountsRequest::default()
        };
        let page = clients
            .account
            .clone()
            .list_accounts(request)
            .await
            .map_err(refused)?
            .into_inner();
        found.extend(page.accounts);
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    Ok(found)
}

/// An account as it is now.
pub async fn get(clients: &Clients, id: &str) -> Result<pb::Account, Failure> {
    let request = pb::GetAccountRequest {
        account_id: id.to_owned(),
        read_time: None,
    };
    let answer = clients
        .account
        .clone()
        .get_account(request)
        .await
        .map_err(refused)?;
    answer
        .into_inner()
        .account
        .ok_or_else(|| "account-lifecycle gave no account".into())
}

/// Prints accounts.
pub fn print_list(accounts: &[pb::Account], output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return show::json_list("perdiem.account.v1.Account", accounts);
    }
    show::lines(&list_text(accounts));
    Ok(())
}

fn list_text(accounts: &[pb::Account]) -> Vec<String> {
    let row = |it: &pb::Account| {
        vec![
            it.account_id.clone(),
            it.profile_code.clone(),
            state(it),
            it.display_name.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = accounts.iter().map(row).collect();
    show::tabled(&["account", "profile", "state", "name"], &rows)
}

/// Prints an account.
pub fn print(account: &pb::Account, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return show::json("perdiem.account.v1.Account", account);
    }
    show::lines(&text(account));
    Ok(())
}

fn text(it: &pb::Account) -> Vec<String> {
    let day = |at| instant(at).map(|at| at.to_rfc3339());
    let reasons = it.suspension_reasons();
    let reasons: Vec<String> = reasons
        .map(|reason| word(reason.as_str_name(), "SUSPENSION_REASON_"))
        .collect();
    let facts = [
        ("account", Some(it.account_id.clone())),
        ("name", Some(it.display_name.clone())),
        ("parent", Some(it.parent_account_id.clone())),
        ("owner", Some(it.owner_user_id.clone())),
        ("profile", Some(it.profile_code.clone())),
        ("currency", Some(it.currency_code.clone())),
        ("state", Some(state(it))),
        ("suspended for", Some(reasons.join(", "))),
        ("limited as", Some(it.limit_reason.clone())),
        (
            "pays",
            Some(word(it.billing_mode().as_str_name(), "BILLING_MODE_")),
        ),
        ("KYC", Some(word(it.kyc_state().as_str_name(), "STATE_"))),
        ("created", day(it.create_time)),
        ("trial ends", day(it.trial_end_time)),
        ("upgraded", day(it.upgrade_time)),
        ("live since", day(it.live_time)),
    ];
    let rows: Vec<Vec<String>> = facts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.filter(|it| !it.is_empty())?)))
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    show::tabled(&["", ""], &rows)
}

/// Type, status and mode in words, without what is as usual.
fn state(it: &pb::Account) -> String {
    let words = [
        word(it.r#type().as_str_name(), "TYPE_"),
        word(it.status().as_str_name(), "STATUS_"),
        word(it.mode().as_str_name(), "MODE_"),
    ];
    let told = words.into_iter().filter(|it| it != "normal");
    told.collect::<Vec<_>>().join(", ")
}

/// A value of an enum as a word.
fn word(name: &str, prefix: &str) -> String {
    let word = name.strip_prefix(prefix).unwrap_or(name);
    word.to_lowercase().replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_fit_whatever_they_are_called() {
        let account = pb::Account {
            account_id: format!("AC{}", "0".repeat(32)),
            parent_account_id: format!("AC{}", "1".repeat(32)),
            profile_code: "united-states".to_owned(),
            display_name: "A company with a long name ".repeat(4),
            r#type: pb::account::Type::Full.into(),
            status: pb::account::Status::Suspended.into(),
            mode: pb::account::Mode::Limited.into(),
            suspension_reasons: vec![pb::account::SuspensionReason::Balance.into()],
            ..pb::Account::default()
        };
        assert_eq!(state(&account), "full, suspended, limited");
        for texts in [list_text(std::slice::from_ref(&account)), text(&account)] {
            let fits = |text: &String| text.chars().count() <= show::WIDTH;
            assert!(texts.iter().all(fits), "{texts:#?}");
            assert!(texts.iter().any(|it| it.contains(&account.account_id)));
        }
    }
}
