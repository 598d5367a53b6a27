//! Words, signs and literals of a pattern, one at a time.

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{InvalidPattern, Literal};

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// A keyword, a property or, where it has a hyphen, a type.
    Word(&'a str),
    /// A constant.
    Literal(Literal),
    /// Brackets, operators, separators.
    Sign(&'static str),
    /// Nothing more.
    End,
}

/// Longer signs first.
const SIGNS: [&str; 17] = [
    "==", "!=", "<>", "<=", ">=", "=", "<", ">", "[", "]", "(", ")", ",", ":", ".", "*", "+",
];

/// Reads tokens from a text.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Where the next token begins, in bytes.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// What is wrong at a place.
    pub(super) fn wrong(&self, at: usize, reason: impl Into<String>) -> InvalidPattern {
        let before = self.text.get(..at).unwrap_or(self.text);
        InvalidPattern {
            at: before.chars().count() + 1,
            reason: reason.into(),
            beyond_limits: false,
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Passes over white space and comments.
    pub(super) fn skip(&mut self) -> Result<(), InvalidPattern> {
        loop {
            let rest = self.rest();
            let bare = rest.trim_start();
            self.at += rest.len() - bare.len();
            if bare.starts_with("//") {
                self.at += bare.find('\n').unwrap_or(bare.len());
            } else if let Some(comment) = bare.strip_prefix("/*") {
                let end = comment
                    .find("*/")
                    .ok_or_else(|| self.wrong(self.at, "this comment does not end"))?;
                self.at += end + 4;
            } else {
                return Ok(());
            }
        }
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Result<Token<'a>, InvalidPattern> {
        self.skip()?;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(Token::End);
        };
        let mut chars = rest.bytes();
        match (chars.next(), chars.next()) {
            (Some(b'\''), _) => {
                let text = self.string()?;
                return Ok(Token::Literal(Literal::Text(text)));
            }
            (Some(prefix @ (b't' | b'b' | b'h')), Some(b'\'')) => return self.prefixed(prefix),
            _ => {}
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
                .unwrap_or(rest.len());
            self.at += end;
            return Ok(match &rest[..end] {
                "true" => Token::Literal(Literal::Boolean(true)),
                "false" => Token::Literal(Literal::Boolean(false)),
                word => Token::Word(word),
            });
        }
        let after_sign = rest.strip_prefix(['+', '-']).unwrap_or(rest);
        let fraction = |text: &str| {
            text.strip_prefix('.')
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        if after_sign.starts_with(|c: char| c.is_ascii_digit()) || fraction(after_sign) {
            return self.number();
        }
        for sign in SIGNS {
            if rest.starts_with(sign) {
                self.at += sign.len();
                return Ok(Token::Sign(sign));
            }
        }
        let shown: String = first.escape_debug().collect();
        Err(self.wrong(self.at, format!("`{shown}` has no meaning here")))
    }

    /// A quoted string; the only escapes are `\'` and `\\`.
    fn string(&mut self) -> Result<String, InvalidPattern> {
        let begin = self.at;
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\'' => {
                    self.at += at + 1;
                    return Ok(text);
                }
                '\\' => {
                    let escaped = chars.next().map(|(_, escaped)| escaped);
                    let escaped = escaped.filter(|c| matches!(c, '\'' | '\\'));
                    text.push(escaped.ok_or_else(|| {
                        let reason = "a backslash stands before a quote or a backslash only";
                        self.wrong(begin + at, reason)
                    })?);
                }
                c => text.push(c),
            }
        }
        Err(self.wrong(begin, "this string does not end"))
    }

    /// `t'...'`, `b'...'` and `h'...'`.
    fn prefixed(&mut self, prefix: u8) -> Result<Token<'a>, InvalidPattern> {
        let begin = self.at;
        self.at += 1;
        let text = self.string()?;
        let (right, literal): (bool, fn(String) -> Literal) = match prefix {
            b't' => (is_timestamp(&text), Literal::Timestamp),
            b'b' => (BASE64.decode(text.as_bytes()).is_ok(), Literal::Binary),
            _ => (
                HEXLOWER_PERMISSIVE.decode(text.as_bytes()).is_ok(),
                Literal::Hex,
            ),
        };
        if right {
            return Ok(Token::Literal(literal(text)));
        }
        Err(self.wrong(
            begin,
            match prefix {
                b't' => "it is no time such as t'2026-11-23T12:00:00Z'",
                b'b' => "it is no base64",
                _ => "it is not hexadecimal",
            },
        ))
    }

    fn number(&mut self) -> Result<Token<'a>, InvalidPattern> {
        let begin = self.at;
        let rest = self.rest();
        let end = rest
            .char_indices()
            .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && "+-".contains(*c))))
            .map_or(rest.len(), |(at, _)| at);
        let text = &rest[..end];
        self.at += end;
        let whole = text.trim_start_matches(['+', '-']);
        if whole.contains('.') {
            // A digit must follow the point; more than one point is no number.
            let number = (!whole.ends_with('.')).then(|| text.parse().ok()).flatten();
            let number = number.ok_or_else(|| self.wrong(begin, "it is no number"))?;
            return Ok(Token::Literal(Literal::Float(number)));
        }
        if whole.len() > 1 && whole.starts_with('0') {
            return Err(self.wrong(begin, "a number does not begin with 0"));
        }
        let number = text.parse();
        let number = number.map_err(|_| self.wrong(begin, "this number is too large"))?;
        Ok(Token::Literal(Literal::Integer(number)))
    }
}

/// `YYYY-MM-DDTHH:MM:SS[.s+]Z`, a moment that there is.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    let formed = bytes.get(10) == Some(&b'T') && bytes.last() == Some(&b'Z');
    formed && OffsetDateTime::parse(text, &Rfc3339).is_ok()
}
