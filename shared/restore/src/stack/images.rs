//! The Compose file that pins the services of a stack to the images that they ran. Pure.

use std::fmt::Write as _;

use holdfast_format::ImageInUse;

/// The head of the file, for whoever opens it.
const HEAD: &str = "# The images of a restore point, to be laid over the stack's own file:\n\
                    # docker compose -f compose.yaml -f THIS up -d\nservices:\n";

/// A service whose image has no name by which it can be pulled again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unpullable {
    pub(super) service: String,
    pub(super) image: String,
}

/// Returns the file's text, and the services that it can only name an image's id for.
pub(super) fn compose_file(images: &[ImageInUse]) -> (String, Vec<Unpullable>) {
    let mut text = HEAD.to_owned();
    let mut unpullable = Vec::new();
    let mut pinned: Vec<&str> = Vec::new();
    for image in images {
        let Some(service) = image.service.as_deref().filter(|service| !pinned.contains(service)) else {
            continue;
        };
        pinned.push(service);
        let reference = image.digests.first().unwrap_or_else(|| {
            unpullable.push(Unpullable {
                service: service.to_owned(),
                image: image.image.clone(),
            });
            &image.id
        });
        // YAML reads strings that are quoted as in JSON.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let _ = write!(text, "  {}:\n    image: {}\n", quoted(service), quoted(reference));
    }
    (text, unpullable)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn image(service: Option<&str>, digests: &[&str]) -> ImageInUse {
        ImageInUse {
            site: "home".parse().unwrap(),
            container: "shop-one-1".to_owned(),
            stack: Some("shop".to_owned()),
            service: service.map(str::to_owned),
            image: "shop:latest".to_owned(),
            id: "sha256:1111".to_owned(),
            digests: digests.iter().map(|digest| (*digest).to_owned()).collect(),
        }
    }

    #[test]
    fn a_service_is_pinned_once_and_to_a_digest() {
        let images = [
            image(Some("web"), &["shop@sha256:aa", "other@sha256:aa"]),
            image(Some("web"), &["shop@sha256:bb"]),
            image(None, &["none@sha256:cc"]),
        ];
        let (text, unpullable) = compose_file(&images);
        assert_eq!(text, format!("{HEAD}  \"web\":\n    image: \"shop@sha256:aa\"\n"));
        assert!(unpullable.is_empty());
    }

    #[test]
    fn an_image_of_the_host_is_named_by_its_id() {
        let (text, unpullable) = compose_file(&[image(Some("o\"dd: \n"), &[])]);
        assert_eq!(text, format!("{HEAD}  \"o\\\"dd: \\n\":\n    image: \"sha256:1111\"\n"));
        assert_eq!(unpullable.len(), 1);
        assert_eq!(unpullable[0].image, "shop:latest");
    }
}
