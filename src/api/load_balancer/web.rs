//! The texts of a balancer that end up in nginx's configuration: each knows the few characters that
//! it may have, none of which means anything to nginx.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::api::InvalidName;
use crate::api::name::{is_rfc1123_label, text_newtype};

text_newtype!(
    /// A name by which clients call a balancer: `www.example.com`, or `*.example.com` for all below.
    HostName,
    "host name",
    "a host name has only a-z, 0-9, '-' and single dots, labels of at most 63 characters, and may begin with '*.'",
    "^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    253,
    |s| is_host_name(s)
);

text_newtype!(
    /// The path of a request, with its query: `/health?full=1`.
    UrlPath,
    "path of a request",
    "a path begins with '/' and has only letters, digits and - . _ ~ % / ? & = + , : @",
    "^/[-A-Za-z0-9._~%/?&=+,:@]*$",
    1024,
    |s| s.starts_with('/') && only(s, b"-._~%/?&=+,:@")
);

text_newtype!(
    /// A file of the host, by its absolute path.
    HostFile,
    "path of a file",
    "a path begins with '/', ends with a name, has only letters, digits and - . _ / + @ = , and no '.' or '..' between slashes",
    "^/[-A-Za-z0-9._/+@=,]*$",
    1024,
    |s| s.starts_with('/') && only(s, b"-._/+@=,") && s.split('/').skip(1).all(is_step)
);

fn is_host_name(s: &str) -> bool {
    let label = |l: &str| l.len() <= 63 && is_rfc1123_label(l);
    s.strip_prefix("*.").unwrap_or(s).split('.').all(label)
}

fn only(s: &str, marks: &[u8]) -> bool {
    s.bytes()
        .all(|b| b.is_ascii_alphanumeric() || marks.contains(&b))
}

fn is_step(s: &str) -> bool {
    !matches!(s, "" | "." | "..")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOSTILE: &[&str] = &[
        "x; } server { listen 9; root /; autoindex on; server_name y",
        "x\n",
        "x\ninclude /etc/passwd;",
        "x#",
        "$host",
        "${host}",
        "\"x\"",
        "'x'",
        "x{",
        "x}",
        "x;",
        "x y",
        "x\\",
        "~^(.*)$",
        "\0",
        "x\u{1b}[0m",
        "",
    ];

    #[test]
    fn no_hostile_text_is_any_of_them() {
        for text in HOSTILE {
            assert!(HostName::new(*text).is_err(), "{text:?}");
            for path in [(*text).to_owned(), format!("/{text}")] {
                let empty = path == "/";
                assert!(UrlPath::new(path.as_str()).is_err() || empty, "{path:?}");
                assert!(HostFile::new(path.as_str()).is_err(), "{path:?}");
            }
        }
    }

    #[test]
    fn what_people_write_is_taken() {
        for good in [
            "localhost",
            "www.example.com",
            "*.example.com",
            "xn--bcher-kva.de",
        ] {
            assert!(HostName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "*", "*.*.com", "a.*", "A.com", "a_b.com", "a..b", ".a", "a.", "-a.com",
        ] {
            assert!(HostName::new(bad).is_err(), "{bad}");
        }
        assert!(UrlPath::new("/health?full=1&x=%20").is_ok());
        assert!(HostFile::new("/etc/ssl/web.example.com/full_chain.pem").is_ok());
        for bad in ["/a/../b", "/a/./b", "/a/", "a/b", "//a", "/"] {
            assert!(HostFile::new(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_nginx_reads_as_more_than_a_word_gets_in(text in any::<String>()) {
            let special = |s: &str| s.chars().any(|c| c.is_whitespace() || c.is_control() || "{};#$\"'\\".contains(c));
            for taken in [
                HostName::new(text.as_str()).map(|t| t.to_string()),
                UrlPath::new(format!("/{text}")).map(|t| t.to_string()),
                HostFile::new(format!("/{text}")).map(|t| t.to_string()),
            ].into_iter().flatten() {
                prop_assert!(!special(&taken), "{taken:?}");
            }
        }
    }
}
