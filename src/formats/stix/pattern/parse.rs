//! The grammar, by recursive descent (STIX 2.1, section 9.1). Chains of one operator are lists, so
//! that only parentheses nest.

use super::lexer::{Lexer, Token};
use super::{
    Comparison, InvalidPattern, Literal, MAX_DEPTH, MAX_PATTERN_BYTES, ObjectPath, Observation,
    Operator, Qualifier, Step, Test,
};
use crate::formats::stix::tables::HASHES;

/// Words that are no names.
const KEYWORDS: [&str; 17] = [
    "AND",
    "OR",
    "NOT",
    "FOLLOWEDBY",
    "LIKE",
    "MATCHES",
    "ISSUPERSET",
    "ISSUBSET",
    "EXISTS",
    "IN",
    "START",
    "STOP",
    "SECONDS",
    "WITHIN",
    "REPEATS",
    "TIMES",
    "LAST",
];

type Read<T> = Result<T, InvalidPattern>;

/// Reads a pattern.
pub fn parse(text: &str) -> Read<Observation> {
    let lexer = Lexer::new(text);
    if text.len() > MAX_PATTERN_BYTES {
        let reason = format!(
            "the pattern has {} bytes; at most {MAX_PATTERN_BYTES} are read",
            text.len()
        );
        return Err(InvalidPattern {
            beyond_limits: true,
            ..lexer.wrong(0, reason)
        });
    }
    let mut parser = Parser {
        lexer,
        token: Token::End,
        at: 0,
        depth: 0,
    };
    parser.advance()?;
    let pattern = parser.followed_by()?;
    match parser.token {
        Token::End => Ok(pattern),
        _ => Err(parser.expected("the end")),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token<'a>,
    /// Where `token` begins.
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn advance(&mut self) -> Read<()> {
        self.lexer.skip()?;
        self.at = self.lexer.at();
        self.token = self.lexer.next()?;
        Ok(())
    }

    fn expected(&self, what: &str) -> InvalidPattern {
        let found = match &self.token {
            Token::Word(word) => format!("`{}`", word.chars().take(60).collect::<String>()),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::Literal(_) => "a constant".to_owned(),
            Token::End => "the end".to_owned(),
        };
        self.lexer
            .wrong(self.at, format!("{what} is expected, and {found} is there"))
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.token, Token::Word(found) if found == word)
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.token, Token::Sign(found) if found == sign)
    }

    /// Takes a keyword where it stands here.
    fn takes(&mut self, word: &str) -> Read<bool> {
        let there = self.is_word(word);
        if there {
            self.advance()?;
        }
        Ok(there)
    }

    fn word(&mut self, word: &str) -> Read<()> {
        if self.takes(word)? {
            Ok(())
        } else {
            Err(self.expected(&format!("`{word}`")))
        }
    }

    fn sign(&mut self, sign: &str) -> Read<()> {
        if self.is_sign(sign) {
            self.advance()
        } else {
            Err(self.expected(&format!("`{sign}`")))
        }
    }

    fn enter(&mut self) -> Read<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let reason = format!("parentheses nest deeper than {MAX_DEPTH}");
            return Err(InvalidPattern {
                beyond_limits: true,
                ..self.lexer.wrong(self.at, reason)
            });
        }
        self.advance()
    }

    fn leave(&mut self, sign: &str) -> Read<()> {
        self.sign(sign)?;
        self.depth -= 1;
        Ok(())
    }

    /// A chain of `operand`s; a single one stands for itself.
    fn chain<T>(
        &mut self,
        operator: &str,
        operand: fn(&mut Self) -> Read<T>,
        many: fn(Vec<T>) -> T,
    ) -> Read<T> {
        let first = operand(self)?;
        if !self.is_word(operator) {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.takes(operator)? {
            all.push(operand(self)?);
        }
        Ok(many(all))
    }

    // Observations: AND binds closer than OR, OR closer than FOLLOWEDBY.

    fn followed_by(&mut self) -> Read<Observation> {
        self.chain(
            "FOLLOWEDBY",
            |parser| parser.chain("OR", Self::all_observed, Observation::Any),
            Observation::FollowedBy,
        )
    }

    fn all_observed(&mut self) -> Read<Observation> {
        self.chain("AND", Self::qualified, Observation::All)
    }

    fn qualified(&mut self) -> Read<Observation> {
        let observation = if self.is_sign("[") {
            self.enter()?;
            let comparison = self.any_compared()?;
            self.leave("]")?;
            Observation::One(comparison)
        } else if self.is_sign("(") {
            self.enter()?;
            let inner = self.followed_by()?;
            self.leave(")")?;
            inner
        } else {
            return Err(self.expected("`[` or `(`"));
        };
        let mut qualifiers: Vec<Qualifier> = Vec::new();
        loop {
            let at = self.at;
            let Some(one) = self.qualifier()? else { break };
            let kind = std::mem::discriminant(&one);
            if qualifiers
                .iter()
                .any(|other| std::mem::discriminant(other) == kind)
            {
                return Err(self.lexer.wrong(at, "this kind of qualifier stands twice"));
            }
            qualifiers.push(one);
        }
        Ok(if qualifiers.is_empty() {
            observation
        } else {
            Observation::Qualified(Box::new(observation), qualifiers)
        })
    }

    fn qualifier(&mut self) -> Read<Option<Qualifier>> {
        if self.takes("START")? {
            let start = self.timestamp()?;
            self.word("STOP")?;
            return Ok(Some(Qualifier::StartStop(start, self.timestamp()?)));
        }
        if self.takes("WITHIN")? {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a span of seconds beyond 2^53 is the same for every use"
            )]
            let seconds = match self.token {
                Token::Literal(Literal::Integer(seconds)) if seconds > 0 => seconds as f64,
                Token::Literal(Literal::Float(seconds)) if seconds > 0.0 => seconds,
                _ => return Err(self.expected("a positive number of seconds")),
            };
            self.advance()?;
            self.word("SECONDS")?;
            return Ok(Some(Qualifier::Within(seconds)));
        }
        if self.takes("REPEATS")? {
            let times = match self.token {
                Token::Literal(Literal::Integer(times)) => u64::try_from(times).ok(),
                _ => None,
            };
            let times = times.filter(|times| *times > 0);
            let times = times.ok_or_else(|| self.expected("a positive number of times"))?;
            self.advance()?;
            self.word("TIMES")?;
            return Ok(Some(Qualifier::Repeats(times)));
        }
        Ok(None)
    }

    fn timestamp(&mut self) -> Read<String> {
        let Token::Literal(Literal::Timestamp(at)) = &self.token else {
            return Err(self.expected("a time such as t'2026-11-23T12:00:00Z'"));
        };
        let at = at.clone();
        self.advance()?;
        Ok(at)
    }

    // Comparisons: AND binds closer than OR.

    fn any_compared(&mut self) -> Read<Comparison> {
        self.chain(
            "OR",
            |parser| parser.chain("AND", Self::compared, Comparison::All),
            Comparison::Any,
        )
    }

    fn compared(&mut self) -> Read<Comparison> {
        if self.is_sign("(") {
            self.enter()?;
            let inner = self.any_compared()?;
            self.leave(")")?;
            return Ok(inner);
        }
        if self.takes("EXISTS")? {
            return Ok(Comparison::Exists(self.path()?));
        }
        let path = self.path()?;
        let not = self.takes("NOT")?;
        let operator = self.operator()?;
        let at = self.at;
        let literals = if operator == Operator::In {
            self.set()?
        } else {
            vec![self.literal()?]
        };
        let test = Test {
            path,
            not,
            operator,
            literals,
        };
        check(&test).map_err(|reason| self.lexer.wrong(at, reason))?;
        Ok(Comparison::Test(test))
    }

    fn operator(&mut self) -> Read<Operator> {
        let operator = match self.token {
            Token::Sign("=" | "==") => Operator::Equal,
            Token::Sign("!=" | "<>") => Operator::NotEqual,
            Token::Sign(">") => Operator::Greater,
            Token::Sign(">=") => Operator::GreaterOrEqual,
            Token::Sign("<") => Operator::Less,
            Token::Sign("<=") => Operator::LessOrEqual,
            Token::Word("IN") => Operator::In,
            Token::Word("LIKE") => Operator::Like,
            Token::Word("MATCHES") => Operator::Matches,
            Token::Word("ISSUBSET") => Operator::IsSubset,
            Token::Word("ISSUPERSET") => Operator::IsSuperset,
            _ => return Err(self.expected("an operator such as `=`")),
        };
        self.advance()?;
        Ok(operator)
    }

    fn literal(&mut self) -> Read<Literal> {
        let Token::Literal(literal) = &self.token else {
            return Err(self.expected("a constant"));
        };
        let literal = literal.clone();
        self.advance()?;
        Ok(literal)
    }

    /// `(1, 2)`.
    fn set(&mut self) -> Read<Vec<Literal>> {
        self.sign("(")?;
        let mut literals = Vec::new();
        if !self.is_sign(")") {
            literals.push(self.literal()?);
            while self.is_sign(",") {
                self.advance()?;
                literals.push(self.literal()?);
            }
        }
        self.sign(")")?;
        Ok(literals)
    }

    /// A name that may have hyphens only where a type stands.
    fn name(&mut self, what: &str, hyphens: bool) -> Read<&'a str> {
        match self.token {
            Token::Word(word) if !KEYWORDS.contains(&word) && (hyphens || !word.contains('-')) => {
                self.advance()?;
                Ok(word)
            }
            _ => Err(self.expected(what)),
        }
    }

    fn step(&mut self) -> Read<Step> {
        if let Token::Literal(Literal::Text(text)) = &self.token {
            let step = Step::Name(text.clone());
            self.advance()?;
            return Ok(step);
        }
        let name = self.name("a property", false)?;
        Ok(Step::Name(name.to_owned()))
    }

    fn path(&mut self) -> Read<ObjectPath> {
        let object = self.name("a type such as `file`", true)?.to_owned();
        self.sign(":")?;
        let mut steps = vec![self.step()?];
        loop {
            if self.is_sign(".") {
                self.advance()?;
                steps.push(self.step()?);
            } else if self.is_sign("[") {
                self.advance()?;
                let step = match self.token {
                    Token::Sign("*") => Step::AnyIndex,
                    Token::Literal(Literal::Integer(index)) => Step::Index(index),
                    _ => return Err(self.expected("a place in a list, or `*`")),
                };
                self.advance()?;
                self.sign("]")?;
                steps.push(step);
            } else {
                return Ok(ObjectPath { object, steps });
            }
        }
    }
}

/// What holds between an operator, its path and its constants.
fn check(test: &Test) -> Result<(), String> {
    use Operator::{
        Greater, GreaterOrEqual, IsSubset, IsSuperset, Less, LessOrEqual, Like, Matches,
    };
    let text = |literal: &Literal| matches!(literal, Literal::Text(_));
    let strings = matches!(test.operator, Like | Matches | IsSubset | IsSuperset);
    if strings && !test.literals.iter().all(text) {
        return Err("this operator compares with a string".into());
    }
    let ordered = matches!(test.operator, Greater | GreaterOrEqual | Less | LessOrEqual);
    let boolean = |literal: &Literal| matches!(literal, Literal::Boolean(_));
    if ordered && test.literals.iter().any(boolean) {
        return Err("true and false have no order".into());
    }
    if !matches!(test.operator, Operator::Equal | Operator::In) {
        return Ok(());
    }
    let [Step::Name(first), Step::Name(algorithm)] = test.path.steps.as_slice() else {
        return Ok(());
    };
    let length = HASHES.iter().find(|(name, _)| name == algorithm);
    let Some((name, length)) = length.filter(|_| first == "hashes") else {
        return Ok(());
    };
    for literal in &test.literals {
        let Literal::Text(hash) = literal else {
            continue;
        };
        if hash.len() != *length || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("a {name} hash has {length} hexadecimal digits"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_bind_as_the_specification_says() {
        let one = |name: &str| parse(&format!("[a:{name} = 1]")).unwrap();
        let read =
            parse("[a:b = 1] FOLLOWEDBY [a:c = 1] OR [a:d = 1] AND [a:e = 1] REPEATS 2 TIMES");
        let repeated = Observation::Qualified(Box::new(one("e")), vec![Qualifier::Repeats(2)]);
        let all = Observation::All(vec![one("d"), repeated]);
        let any = Observation::Any(vec![one("c"), all]);
        assert_eq!(read, Ok(Observation::FollowedBy(vec![one("b"), any])));
    }

    #[test]
    fn what_is_no_pattern_is_an_error_with_its_place() {
        for (text, at, reason) in [
            ("", 1, "`[` or `(` is expected, and the end is there"),
            (
                "[file:size = ]",
                14,
                "a constant is expected, and `]` is there",
            ),
            (
                "[file:size = 1",
                15,
                "`]` is expected, and the end is there",
            ),
            (
                "[file:size = 1] x",
                17,
                "the end is expected, and `x` is there",
            ),
            ("[ä:b = 1]", 2, "`ä` has no meaning here"),
            (
                "[a:b-c = 1]",
                4,
                "a property is expected, and `b-c` is there",
            ),
            (
                "[a:b = 'ä\\n']",
                10,
                "a backslash stands before a quote or a backslash only",
            ),
            ("[a:b = 'x]", 8, "this string does not end"),
            ("[a:b = 1] /* x", 11, "this comment does not end"),
            ("[a:b > true]", 8, "true and false have no order"),
            ("[a:b LIKE 5]", 11, "this operator compares with a string"),
            ("[a:b = 01]", 8, "a number does not begin with 0"),
            ("[a:b = 1.]", 8, "it is no number"),
            (
                "[a:b = 99999999999999999999]",
                8,
                "this number is too large",
            ),
            ("[a:b = h'f']", 8, "it is not hexadecimal"),
            (
                "[a:b = 1] REPEATS 0 TIMES",
                19,
                "a positive number of times is expected, and a constant is there",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.at, error.reason.as_str()), (at, reason), "{text}");
        }
    }

    #[test]
    fn comments_signs_and_lists_are_read() {
        for text in [
            "/* a */ [a:b[*].'c d'[-1].e == -1.5] // end",
            "[a:b <> h'ffD8' OR EXISTS a:c]",
            "[a:b NOT IN ('x', 'y') AND a:c IN ()]",
            "[a:b = t'2026-02-28T23:59:59Z'] WITHIN 0.5 SECONDS",
        ] {
            assert!(parse(text).is_ok(), "{text}: {:?}", parse(text));
        }
    }

    #[test]
    fn depth_and_length_are_limited_and_long_chains_are_not_deep() {
        let nested = |depth: usize| format!("{}[a:b = 1]{}", "(".repeat(depth), ")".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH - 1)).is_ok());
        assert!(parse(&nested(100_000)).unwrap_err().beyond_limits);
        let long = format!("[{}]", vec!["a:b = 1"; 50_000].join(" OR "));
        assert!(parse(&long).is_ok());
        let longer = format!("[a:b = '{}']", "x".repeat(MAX_PATTERN_BYTES));
        assert!(parse(&longer).unwrap_err().beyond_limits);
    }
}
