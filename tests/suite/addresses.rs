//! A new e-mail address of a user takes effect by the code that was mailed to it, and by nothing else.

use perdiem::connect::{Clients, request_id};
use perdiem::mail;
use proto::account::v1 as account;
use tonic::{Code, Status};

use crate::closing::close;
use crate::harness::Harness;
use crate::subscriptions::refused;

/// Asks for a new name or address of a user; empty leaves it.
pub async fn asked(
    who: &Clients,
    user: &str,
    (name, email): (&str, &str),
) -> Result<account::UpdateUserResponse, Status> {
    let request = account::UpdateUserRequest {
        user_id: user.to_owned(),
        display_name: name.to_owned(),
        email: email.to_owned(),
        request_id: request_id(),
    };
    let answer = who.customers.clone().update_user(request).await?;
    Ok(answer.into_inner())
}

/// Gives a code back.
pub async fn confirmed(who: &Clients, user: &str, code: &str) -> Result<account::User, Status> {
    let request = account::ConfirmEmailRequest {
        user_id: user.to_owned(),
        code: code.to_owned(),
        request_id: request_id(),
    };
    let answer = who.customers.clone().confirm_email(request).await?;
    Ok(answer.into_inner().user.unwrap())
}

/// The mails to an address, when all mail has been sent.
async fn mails(h: &Harness, to: &str) -> Vec<mail::Mail> {
    let now = perdiem::clock::now(&h.urls).await.unwrap();
    perdiem::clock::advance(&h.urls, now).await.unwrap();
    let all = mail::list(&h.suite.settings.mail_folder()).unwrap();
    all.into_iter().filter(|it| it.to.contains(to)).collect()
}

/// The code that was mailed to an address, which got one mail with a code.
async fn code(h: &Harness, to: &str) -> String {
    let mails = mails(h, to).await;
    let with: Vec<_> = mails
        .iter()
        .filter_map(|it| it.source.split_once("Code: "))
        .collect();
    let [(_, rest)] = with[..] else {
        panic!("{} mails with a code to {to}", with.len());
    };
    rest[..32].to_owned()
}

/// The present address of a user.
async fn address(h: &Harness, user: &str) -> String {
    let request = account::GetUserRequest {
        user_id: user.to_owned(),
    };
    let got = h.person(user).account.get_user(request).await.unwrap();
    got.into_inner().user.unwrap().email
}

fn precondition(reason: &str) -> (Code, String) {
    (Code::FailedPrecondition, reason.to_owned())
}

#[tokio::test]
async fn people_change_their_own_name_at_once_and_their_address_by_a_mailed_code() {
    let h = Harness::start().await;
    let (me, owner) = (h.customer(), h.owner.as_str());
    let named = asked(&me, owner, ("Asha", "")).await.unwrap();
    assert_eq!(named.unconfirmed_email, "");
    let named = named.user.unwrap();
    assert_eq!(
        (named.display_name.as_str(), named.email.as_str()),
        ("Asha", "owner@example.com")
    );
    // Asked for, nothing changes yet.
    let told = asked(&me, owner, ("Asha Rao", "asha@example.com")).await;
    let told = told.unwrap();
    let user = told.user.unwrap();
    assert_eq!(
        (user.display_name.as_str(), user.email.as_str()),
        ("Asha Rao", "owner@example.com")
    );
    assert_eq!(told.unconfirmed_email, "asha@example.com");
    let day = chrono::TimeDelta::days(1);
    let now = perdiem::clock::now(&h.urls).await.unwrap();
    assert_eq!(
        told.code_expire_time,
        Some(perdiem::connect::timestamp(now + day))
    );
    let id = h.account().await;
    let first = code(&h, "asha@example.com").await;
    // The code is kept nowhere: its digest is, and the mail that had it has been sent.
    let kept = "SELECT count(*) FROM account.notifications WHERE secret <> '' OR email = 'asha@example.com'";
    assert_eq!(h.count(kept).await, 0);
    assert_eq!(
        crate::deletion::found(&h, &first).await,
        Vec::<String>::new()
    );

    let user = confirmed(&me, owner, &first).await.unwrap();
    assert_eq!(user.email, "asha@example.com");
    assert_eq!(address(&h, owner).await, "asha@example.com");
    // It works once.
    assert_eq!(
        refused(confirmed(&me, owner, &first).await),
        precondition("CODE_EXPIRED")
    );
    // Who had the address before learns of it, once.
    let changed = "The email address of your login has been changed";
    let warned = mails(&h, "owner@example.com").await;
    let warned = warned.iter().filter(|it| it.subject == changed);
    assert_eq!(warned.count(), 1);
    let kept = "SELECT count(*) FROM account.notifications WHERE email = 'owner@example.com'";
    assert_eq!(h.count(kept).await, 0, "the former address is not kept");
    // The same address again is no change.
    let same = asked(&me, owner, ("Asha", "asha@example.com")).await;
    assert_eq!(same.unwrap().unconfirmed_email, "");
    close(&me, &id).await.unwrap();
    let mailed = "SELECT count(*) FROM account.notifications WHERE email = 'asha@example.com'";
    assert!(0 < h.count(mailed).await, "mail goes there from now on");
}

#[tokio::test]
async fn only_the_newest_code_confirms_an_address_within_a_day() {
    let h = Harness::start().await;
    let (me, owner) = (h.customer(), h.owner.as_str());
    let unknown = "0".repeat(32);
    assert_eq!(
        refused(confirmed(&me, owner, &unknown).await),
        precondition("CODE_EXPIRED"),
        "none was asked for"
    );
    asked(&me, owner, ("", "one@example.com")).await.unwrap();
    asked(&me, owner, ("", "two@example.com")).await.unwrap();
    let (first, second) = (
        code(&h, "one@example.com").await,
        code(&h, "two@example.com").await,
    );
    for bad in ["", "x", &first[1..], &first.to_uppercase()] {
        if *bad != first {
            let answer = refused(confirmed(&me, owner, bad).await);
            assert_eq!(answer.1, "INVALID_FIELD", "{bad}");
        }
    }
    // A newer request has replaced the first code; wrong ones are counted, and then the right one is refused too.
    for wrong in [&first, &first, &unknown, &unknown, &unknown] {
        assert_eq!(
            refused(confirmed(&me, owner, wrong).await),
            precondition("CODE_WRONG")
        );
    }
    assert_eq!(
        refused(confirmed(&me, owner, &second).await),
        precondition("CODE_BLOCKED")
    );
    assert_eq!(address(&h, owner).await, "owner@example.com");

    // An expired one is worth nothing, and the address is forgotten.
    asked(&me, owner, ("", "three@example.com")).await.unwrap();
    let third = code(&h, "three@example.com").await;
    h.advance("2026-03-02T12:00:00Z").await;
    assert_eq!(
        refused(confirmed(&me, owner, &third).await),
        precondition("CODE_EXPIRED")
    );
    assert_eq!(
        h.count("SELECT count(*) FROM account.email_changes").await,
        0
    );
    assert_eq!(address(&h, owner).await, "owner@example.com");

    // Five codes a day, whatever the addresses; a confirmed one counts too.
    asked(&me, owner, ("", "four@example.com")).await.unwrap();
    let fourth = code(&h, "four@example.com").await;
    confirmed(&me, owner, &fourth).await.unwrap();
    for n in 2..=5 {
        let to = format!("of{n}@example.com");
        asked(&me, owner, ("", &to)).await.unwrap();
    }
    assert_eq!(
        refused(asked(&me, owner, ("", "more@example.com")).await),
        (Code::ResourceExhausted, "CODE_LIMIT".to_owned())
    );
    assert_eq!(address(&h, owner).await, "four@example.com");
    h.advance("2026-03-03T12:00:00Z").await;
    asked(&me, owner, ("", "more@example.com")).await.unwrap();
}

#[tokio::test]
async fn an_address_is_of_one_user_and_changed_by_themselves_or_by_support() {
    let h = Harness::start().await;
    let (me, owner) = (h.customer(), h.owner.as_str());
    let other = h.user("other").await;
    for (email, why) in [
        ("OTHER@example.com", "USER_EXISTS"),
        ("nobody", "INVALID_FIELD"),
        ("", "INVALID_FIELD"),
    ] {
        assert_eq!(refused(asked(&me, owner, ("", email)).await).1, why);
    }
    // Of anybody else nothing is told, as of nobody.
    let hidden = (Code::NotFound, "USER_NOT_FOUND".to_owned());
    let any = "0".repeat(32);
    for user in [other.as_str(), "US00000000000000000000000000000009"] {
        let answer = asked(&me, user, ("Mallory", "")).await;
        assert_eq!(refused(answer), hidden);
        assert_eq!(refused(confirmed(&me, user, &any).await), hidden);
    }
    let support = h.operator_with("SUPPORT_AGENT");
    asked(&support, &other, ("Otto", "")).await.unwrap();
    asked(&support, &other, ("", "otto@example.com"))
        .await
        .unwrap();
    assert_eq!(address(&h, &other).await, "other@example.com");
    let sent = code(&h, "otto@example.com").await;
    assert_eq!(
        refused(confirmed(&me, owner, &sent).await),
        precondition("CODE_EXPIRED"),
        "another's code is none"
    );
    confirmed(&support, &other, &sent).await.unwrap();
    assert_eq!(address(&h, &other).await, "otto@example.com");

    // Two ask for one address: who confirms first has it.
    asked(&me, owner, ("", "both@example.com")).await.unwrap();
    let mine = code(&h, "both@example.com").await;
    let third = h.user("both").await;
    assert_eq!(
        refused(confirmed(&me, owner, &mine).await),
        (Code::AlreadyExists, "USER_EXISTS".to_owned())
    );
    assert_eq!(address(&h, owner).await, "owner@example.com");
    assert_eq!(address(&h, &third).await, "both@example.com");

    // Whoever has an old token only keeps the address.
    let said = perdiem::keys::claims("person", owner);
    let old = chassis::Claims {
        auth_time: said.auth_time.map(|at| at - 16 * 60),
        ..said
    };
    let token = h.suite.keys.sign(&old).unwrap();
    let old = Clients::new(&h.urls, &token).unwrap();
    assert_eq!(
        refused(asked(&old, owner, ("", "evil@example.com")).await),
        (Code::Unauthenticated, "REAUTH_REQUIRED".to_owned())
    );
    asked(&old, owner, ("A", "")).await.unwrap();
}

#[tokio::test]
async fn a_retry_mails_one_code_and_confirms_once() {
    let h = Harness::start().await;
    let (owner, id) = (h.owner.clone(), h.account().await);
    let me = h.customer();
    let request = account::UpdateUserRequest {
        user_id: owner.clone(),
        email: "new@example.com".to_owned(),
        request_id: request_id(),
        ..account::UpdateUserRequest::default()
    };
    let mut client = me.customers.clone();
    let first = client.update_user(request.clone()).await.unwrap();
    let again = client.update_user(request).await.unwrap();
    assert_eq!(first.into_inner(), again.into_inner());
    let sent = code(&h, "new@example.com").await;
    let request = account::ConfirmEmailRequest {
        user_id: owner.clone(),
        code: sent,
        request_id: request_id(),
    };
    let first = client.confirm_email(request.clone()).await.unwrap();
    let again = client.confirm_email(request).await.unwrap();
    assert_eq!(first.into_inner(), again.into_inner());
    // The notice of the change is kept with the account; the code is nobody else's business.
    let kinds = "SELECT count(*) FROM account.notifications WHERE kind_code LIKE 'EMAIL_%'";
    assert_eq!(h.count(kinds).await, 2);
    let request = account::ListNotificationsRequest {
        account_id: id,
        ..account::ListNotificationsRequest::default()
    };
    let listed = me.account.clone().list_notifications(request).await;
    let listed = listed.unwrap().into_inner().notifications;
    let listed: Vec<_> = listed.iter().map(|it| it.kind_code.as_str()).collect();
    assert_eq!(listed, ["EMAIL_CHANGED"]);
}
