//! Messages, read and compared with the subjects that they stand under. The server decides by the subject who may publish
//! and who may read, so content that belongs to another subject is nobody's word.

use holdfast_events::{Fact, Message, Subjects, Work, decode};
use holdfast_fault::chain;

/// Reads a fact.
///
/// # Errors
/// The reason, for people, if the content is no fact or belongs to another subject.
pub(crate) fn fact_of(subjects: &Subjects, subject: &str, body: &[u8]) -> Result<Fact, String> {
    read(subject, body, |fact| subjects.fact(fact))
}

/// Reads a job.
///
/// # Errors
/// The reason, for people, if the content is no work or belongs to another subject.
pub(crate) fn work_of(subjects: &Subjects, subject: &str, body: &[u8]) -> Result<Work, String> {
    read(subject, body, |work| subjects.work(work))
}

fn read<T: Message>(subject: &str, body: &[u8], subject_of: impl Fn(&T) -> String) -> Result<T, String> {
    let message: T = decode(body).map_err(|error| chain(&error).to_string())?;
    let expected = subject_of(&message);
    if expected == subject {
        Ok(message)
    } else {
        Err(format!("its content belongs to the subject {expected}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use holdfast_events::{Job, What, encode, encode_json};
    use holdfast_format::{ArtefactId, PlaceName, RunId};

    use super::*;

    fn subjects() -> Subjects {
        Subjects::new(&"holdfast".parse().unwrap())
    }

    #[test]
    fn content_under_a_subject_that_is_not_its_own_is_refused_and_both_are_named() {
        let run = RunId::new(1, [1; 10]);
        let fact = Fact {
            run,
            at: jiff::Timestamp::UNIX_EPOCH,
            what: What::ArtefactStarted {
                artefact: ArtefactId::from_bytes([2; 16]),
                attempt: 1,
            },
        };
        let subject = subjects().fact(&fact);
        for body in [encode(&fact).unwrap(), encode_json(&fact).unwrap()] {
            assert_eq!(fact_of(&subjects(), &subject, &body), Ok(fact.clone()));
            let other = subject.replace("started", "sealed");
            let refused = fact_of(&subjects(), &other, &body).unwrap_err();
            assert!(refused.contains(&subject), "{refused}");
        }
        let work = Work {
            run,
            site: "here".parse().unwrap(),
            job: Job::Clean {
                place: PlaceName::local(),
            },
        };
        let body = encode(&work).unwrap();
        let subject = subjects().work(&work);
        assert_eq!(work_of(&subjects(), &subject, &body), Ok(work));
        let refused = work_of(&subjects(), &subject.replace("here", "there"), &body).unwrap_err();
        assert!(refused.contains(&subject), "{refused}");
        assert!(fact_of(&subjects(), &subject, &body).is_err());
    }
}
