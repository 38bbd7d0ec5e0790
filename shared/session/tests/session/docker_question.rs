//! The dumper's question about databases in containers, and its answer, sealed to the key that both sides have.

use crate::common::Host;
use holdfast_events::{DockerAnswer, DockerAsk, DockerQuestion};
use holdfast_service::{Context, JobError};
use holdfast_session::{DatabaseContainer, DockerReply, Reachable, answer_docker, ask_docker};

const SECRET: &str = "not-for-others";

fn reachable() -> Reachable {
    Reachable {
        host: "172.18.0.3".to_owned(),
        port: 5432,
        user: "shop".to_owned(),
        database: "shop".to_owned(),
        password: Some(SECRET.to_owned()),
        class: None,
    }
}

/// Answers until the test ends.
fn answering(cx: &Context) {
    let cx = cx.clone();
    tokio::spawn(async move {
        answer_docker(&cx, &cx.site, async |question, _from| match question {
            DockerQuestion::Databases { .. } => Ok(DockerReply::Databases(vec![DatabaseContainer {
                container: "shop-db-1".to_owned(),
                fault: Some("it is paused".to_owned()),
            }])),
            DockerQuestion::Reach { container, .. } if container == "shop-db-1" => {
                Ok(DockerReply::Reachable(reachable()))
            }
            DockerQuestion::Reach { .. } => Err(JobError::Fail("there is no such container".to_owned())),
            DockerQuestion::Release { .. } => Err(JobError::Retry("the engine does not answer".to_owned())),
        })
        .await;
    });
}

fn reach(container: &str) -> DockerQuestion {
    DockerQuestion::Reach {
        container: container.to_owned(),
        ticket: 7,
    }
}

#[tokio::test]
async fn if_nobody_answers_the_job_is_tried_again_and_says_what_is_missing() {
    let host = Host::new().await;
    let error = ask_docker(&host.cx, reach("shop-db-1")).await.map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, JobError::Retry(why) if why.contains("site here")),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_is_answered_arrives_and_so_does_whether_to_try_again() {
    let host = Host::new().await;
    answering(&host.cx);
    crate::common::until("somebody answers", async || {
        ask_docker(&host.cx, DockerQuestion::Databases { stack: None })
            .await
            .is_ok()
    })
    .await;
    let DockerReply::Databases(found) = ask_docker(&host.cx, DockerQuestion::Databases { stack: None })
        .await
        .unwrap()
    else {
        panic!("another answer")
    };
    assert_eq!(
        (found[0].container.as_str(), found[0].fault.as_deref()),
        ("shop-db-1", Some("it is paused"))
    );
    let DockerReply::Reachable(found) = ask_docker(&host.cx, reach("shop-db-1")).await.unwrap() else {
        panic!("another answer")
    };
    assert!(found == reachable());
    let refused = ask_docker(&host.cx, reach("other")).await.map(|_| ());
    assert!(
        matches!(&refused, Err(JobError::Fail(why)) if why == "there is no such container"),
        "{refused:?}"
    );
    let refused = ask_docker(&host.cx, DockerQuestion::Release { ticket: 7 })
        .await
        .map(|_| ());
    assert!(matches!(&refused, Err(JobError::Retry(_))), "{refused:?}");
}

/// Asks while `fake` answers.
async fn ask_with<F>(host: &Host, fake: F) -> Result<(), JobError>
where
    F: Fn(DockerAsk) -> DockerAnswer + Send + Sync + Clone + 'static,
{
    let drain = tokio_util::sync::CancellationToken::new();
    let answering = {
        let cx = host.cx.clone();
        let drain = drain.clone();
        let handler = move |ask: DockerAsk| {
            let fake = fake.clone();
            async move { fake(ask) }
        };
        tokio::spawn(async move { cx.bus.answer_docker(&cx.site, handler, drain).await })
    };
    let mut answer = Ok(());
    crate::common::until("somebody answers", async || {
        answer = ask_docker(&host.cx, reach("shop-db-1")).await.map(|_| ());
        !matches!(&answer, Err(JobError::Retry(why)) if why.contains("nobody speaks"))
    })
    .await;
    drain.cancel();
    answering.await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn an_answer_that_was_made_for_another_question_is_refused() {
    let host = Host::new().await;
    let reply = serde_json::to_value(DockerReply::Released).unwrap();
    let other = serde_json::json!({"nonce": 1, "told": reply}).to_string();
    let sealed = host.cx.repository.seal_told(other.into_bytes()).await.unwrap();
    let replayed = ask_with(&host, move |_| DockerAnswer::Sealed(sealed.clone())).await;
    assert!(
        matches!(&replayed, Err(JobError::Fail(why)) if why.contains("another question")),
        "{replayed:?}"
    );
    let garbage = host.cx.repository.seal_told(b"{}".to_vec()).await.unwrap();
    let garbled = ask_with(&host, move |_| DockerAnswer::Sealed(garbage.clone())).await;
    assert!(
        matches!(&garbled, Err(JobError::Fail(why)) if why.contains("cannot be read")),
        "{garbled:?}"
    );
}

#[tokio::test]
async fn a_password_is_in_no_message_and_no_text() {
    let host = Host::new().await;
    let shown = reachable().connection().to_string();
    assert!(shown.contains("172.18.0.3") && !shown.contains(SECRET), "{shown}");
    let reply = serde_json::to_vec(&DockerReply::Reachable(reachable())).unwrap();
    let sealed = host.cx.repository.seal_told(reply).await.unwrap();
    assert!(!sealed.windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes()));
}
