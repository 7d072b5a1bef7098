//! Colours, by what a text means rather than by how it looks.

use anstyle::{AnsiColor, Style};

/// What a text means to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Nothing special.
    #[default]
    Plain,
    /// All is well.
    Good,
    /// Under way, or worth a look.
    Warning,
    /// Gone wrong.
    Bad,
    /// Advice.
    Hint,
    /// Less important.
    Dim,
    /// A heading.
    Strong,
}

impl Role {
    /// Returns the terminal style of the role.
    pub fn style(self) -> Style {
        let colour = |c: AnsiColor| Style::new().fg_color(Some(anstyle::Color::Ansi(c)));
        match self {
            Self::Plain => Style::new(),
            Self::Good => colour(AnsiColor::Green),
            Self::Warning => colour(AnsiColor::Yellow),
            Self::Bad => colour(AnsiColor::Red),
            Self::Hint => colour(AnsiColor::Cyan),
            Self::Dim => Style::new().dimmed(),
            Self::Strong => Style::new().bold(),
        }
    }
}

/// Colours texts, or leaves them as they are where the stream is no colour terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Writes ANSI colours.
    Ansi,
    /// Writes no escape sequence at all.
    Off,
}

impl Paint {
    /// Returns `text` in the style of `role`. `text` must have been escaped.
    pub fn paint(self, role: Role, text: &str) -> String {
        let style = role.style();
        if self == Self::Off || style.is_plain() {
            return text.to_owned();
        }
        format!("{style}{text}{style:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_only_written_where_it_is_wanted() {
        assert_eq!(Paint::Off.paint(Role::Bad, "x"), "x");
        assert_eq!(Paint::Ansi.paint(Role::Plain, "x"), "x");
        assert_eq!(Paint::Ansi.paint(Role::Bad, "x"), "\x1b[31mx\x1b[0m");
    }
}
