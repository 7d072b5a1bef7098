//! Which URLs are gone to, and where a redirect leads.

use crate::image::catalogue::url_problem;
use crate::image::error::DownloadError;

/// Checks that `url` may be fetched.
pub(super) fn check(url: &str, allow_http: bool) -> Result<(), DownloadError> {
    if let Some(why) = url_problem(url) {
        let url = url.to_owned();
        return Err(DownloadError::BadUrl { url, why });
    }
    if !allow_http && !url.starts_with("https://") {
        let url = url.to_owned();
        return Err(DownloadError::Insecure { url });
    }
    Ok(())
}

/// Returns where a `Location` header leads, if we go there.
pub(super) fn redirect(
    from: &str,
    location: &str,
    allow_http: bool,
) -> Result<String, DownloadError> {
    let to = join(from, location);
    let refuse = |why| DownloadError::Redirect {
        from: from.to_owned(),
        to: location.chars().take(200).collect(),
        why,
    };
    if let Some(why) = url_problem(&to) {
        return Err(refuse(why));
    }
    if !allow_http && !to.starts_with("https://") {
        return Err(refuse("it is not https"));
    }
    Ok(to)
}

/// Resolves a reference against a URL (RFC 3986 section 5.2, without dot segments, which servers
/// resolve themselves).
fn join(base: &str, reference: &str) -> String {
    if has_scheme(reference) {
        return reference.to_owned();
    }
    let (scheme, rest) = base.split_once("://").unwrap_or(("https", base));
    if let Some(other) = reference.strip_prefix("//") {
        return format!("{scheme}://{other}");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    if reference.starts_with('/') {
        return format!("{scheme}://{authority}{reference}");
    }
    let path = rest[authority.len()..].split(['?', '#']).next();
    let directory = path.and_then(|p| p.rsplit_once('/')).map_or("", |(d, _)| d);
    format!("{scheme}://{authority}{directory}/{reference}")
}

fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// Returns the last segment of the URL's path.
pub(super) fn file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved() {
        let base = "https://a.org/x/y.img?q=/z";
        for (reference, joined) in [
            ("https://b.org/i", "https://b.org/i"),
            ("//b.org/i", "https://b.org/i"),
            ("/i", "https://a.org/i"),
            ("i?x", "https://a.org/x/i?x"),
            ("file:///etc/passwd", "file:///etc/passwd"),
        ] {
            assert_eq!(join(base, reference), joined, "{reference}");
        }
        assert_eq!(join("https://a.org", "i"), "https://a.org/i");
    }

    #[test]
    fn only_https_is_gone_to_unless_http_is_allowed() {
        for bad in [
            "file:///etc/passwd",
            "/etc/passwd",
            "ftp://a.org/i",
            "data:text/plain,x",
            "https://",
            "https://u:p@a.org/i",
            "https://a.org/a b",
            "https://a.org/a\nb",
            "",
        ] {
            assert!(check(bad, true).is_err(), "{bad}");
        }
        assert!(check("http://a.org/i", false).is_err());
        assert!(check("http://a.org/i", true).is_ok());
        assert!(redirect("https://a.org/i", "http://a.org/i", false).is_err());
        assert!(redirect("https://a.org/i", "file:///etc/passwd", true).is_err());
        assert!(redirect("https://a.org/i", "/j", false).is_ok());
    }

    #[test]
    fn the_file_name_is_the_last_segment() {
        assert_eq!(file_name("https://a.org/x/y.img?q=/z#/f"), "y.img");
        assert_eq!(file_name("https://a.org/"), "");
    }
}
