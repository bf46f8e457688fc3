//! `GET /`: the page, one file, and what a browser is told it may do.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

use crate::server::side::http::Answer;

const PAGE: &str = include_str!("page.html");

/// Nothing from anywhere but the one script and the one style of the page, pictures of this port and those the visitor chose, and
/// questions to this port.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |element: &str| {
        let content = content_of(element).unwrap_or_default();
        STANDARD.encode(digest(&SHA256, content.as_bytes()))
    };
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src 'self' blob:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style"),
    )
});

/// What is between the tags of the only element of its name.
fn content_of(element: &str) -> Option<&'static str> {
    let (_, behind) = PAGE.split_once(&format!("<{element}>"))?;
    behind.split_once(&format!("</{element}>")).map(|(content, _)| content)
}

/// Answers it.
pub(super) fn answer() -> Answer {
    Answer::new(200, "text/html; charset=utf-8", PAGE).with("content-security-policy", POLICY.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_script_and_one_style_and_names_no_other_place() {
        for element in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1, "{element}");
            assert!(content_of(element).is_some_and(|content| content.len() > 100), "{element}");
        }
        for other in ["http:", "https:", "//cdn", "innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("]
        {
            assert!(!PAGE.contains(other), "{other}");
        }
        assert_eq!(POLICY.matches("'sha256-").count(), 2, "{}", *POLICY);
    }
}
