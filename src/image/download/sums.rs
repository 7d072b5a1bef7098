//! Reads publishers' checksum files.

use crate::image::catalogue::SumsForm;
use crate::image::digest::{Algorithm, Checksum};

/// Returns the sum that `text` states for `file`.
///
/// GNU (`SUM  name`, `SUM *name`) and BSD (`SHA256 (name) = SUM`) lines are read, in any mixture,
/// also inside a PGP-signed message. Two different sums for one name are no sum.
pub fn find_sum(text: &str, algorithm: Algorithm, form: SumsForm, file: &str) -> Option<Checksum> {
    let stated = text
        .lines()
        .filter_map(|line| line_sum(line.trim(), algorithm));
    let mut sums: Vec<Checksum> = stated
        .filter(|(name, _)| form == SumsForm::Single || name.is_some_and(|n| same_file(n, file)))
        .map(|(_, sum)| sum)
        .collect();
    sums.dedup();
    match sums.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    }
}

fn same_file(name: &str, file: &str) -> bool {
    name.strip_prefix("./").unwrap_or(name) == file
}

/// Returns the name, if one stands there, and the sum of one line.
fn line_sum(line: &str, algorithm: Algorithm) -> Option<(Option<&str>, Checksum)> {
    if let Some(rest) = line.strip_prefix(algorithm.as_str()) {
        let (name, sum) = rest.trim_start().strip_prefix('(')?.rsplit_once(')')?;
        let sum = sum.trim_start().strip_prefix('=')?.trim();
        return Some((Some(name), Checksum::new(algorithm, sum).ok()?));
    }
    let (sum, name) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let sum = Checksum::new(algorithm, sum).ok()?;
    let name = name.trim_start().trim_start_matches('*');
    Some(((!name.is_empty()).then_some(name), sum))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(text: &str, form: SumsForm, file: &str) -> Option<String> {
        let sum = find_sum(text, Algorithm::Sha256, form, file)?;
        Some(sum.hex()[..2].to_owned())
    }

    fn sum(byte: &str) -> String {
        byte.repeat(32)
    }

    #[test]
    fn gnu_lists_are_read() {
        let text = format!(
            "{} *a.img\n{}  b.img\n{} ./c.img\n",
            sum("aa"),
            sum("bb"),
            sum("cc")
        );
        for (file, wanted) in [("a.img", "aa"), ("b.img", "bb"), ("c.img", "cc")] {
            assert_eq!(find(&text, SumsForm::List, file).as_deref(), Some(wanted));
        }
        assert_eq!(find(&text, SumsForm::List, "img"), None);
        assert_eq!(find(&text, SumsForm::List, ""), None);
    }

    #[test]
    fn bsd_lists_are_read_also_when_signed() {
        let text = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# a (1).img: 5 bytes\nSHA256 (a (1).img) = {}\nSHA512 (b.img) = {}\n-----BEGIN PGP SIGNATURE-----\n\niQIz\n",
            sum("AA"),
            "b".repeat(128),
        );
        assert_eq!(
            find(&text, SumsForm::List, "a (1).img").as_deref(),
            Some("aa")
        );
        assert_eq!(find(&text, SumsForm::List, "b.img"), None);
        let wide = find_sum(&text, Algorithm::Sha512, SumsForm::List, "b.img");
        assert_eq!(wide.unwrap().hex(), "b".repeat(128));
    }

    #[test]
    fn a_single_sum_needs_no_name_or_any() {
        for text in [
            format!("{}\n", sum("aa")),
            sum("aa"),
            format!("{}  other-Build1.2.img\n", sum("aa")),
            format!("SHA256 (other.img) = {}\n", sum("aa")),
        ] {
            assert_eq!(
                find(&text, SumsForm::Single, "x.img").as_deref(),
                Some("aa")
            );
        }
    }

    #[test]
    fn contradictions_and_rubbish_are_no_sum() {
        let two = format!("{}  a.img\n{}  a.img\n", sum("aa"), sum("bb"));
        assert_eq!(find(&two, SumsForm::List, "a.img"), None);
        assert_eq!(find(&two, SumsForm::Single, "a.img"), None);
        let same = format!("{0}  a.img\n{0}  a.img\n", sum("aa"));
        assert_eq!(find(&same, SumsForm::List, "a.img").as_deref(), Some("aa"));
        for text in ["", "<html>404</html>", "SHA256 (a.img = x", "SHA256"] {
            assert_eq!(find(text, SumsForm::List, "a.img"), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, file: String) {
            let _ = find_sum(&text, Algorithm::Sha512, SumsForm::List, &file);
            let _ = find_sum(&text, Algorithm::Sha256, SumsForm::Single, &file);
        }
    }
}
