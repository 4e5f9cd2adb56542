//! YAML text -> tree. Total: hostile text ends in a problem with a position, in bounded time and memory.
//!
//! Reads the events of `granit-parser`, the parser beneath `serde_yaml`, because only they still have the text of a
//! scalar: by way of serde, `1.10` would have become the number 1.1 before anybody knew that a text was meant.
//!
//! One document a file; text keys; YAML 1.2 core schema; aliases within the bounds below. Deliberately absent: merge
//! keys (`<<`, YAML 1.1) and tags of one's own.

use std::{collections::HashMap, ops::Range};

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, Span, Tag};

use super::{
    problem::{Problem, Problems, is_key_like, join, quote_key},
    text::{Position, TextId, Texts},
    tree::{Entry, Node, Scalar, Value, is_typed},
};

/// Longest text of one file or variable, bytes. As much as a Kubernetes ConfigMap may hold.
pub(super) const MAX_TEXT: usize = 1 << 20;

/// Deepest nesting.
const MAX_DEPTH: usize = 64;

/// Most nodes, those that aliases repeat included.
const MAX_NODES: usize = 50_000;

/// Most bytes of scalars, those that aliases repeat included.
const MAX_EXPANDED: usize = 4 * MAX_TEXT;

/// Parses the text of `id`; `None` where it holds nothing. Problems are added to `problems`: with the whole text
/// unread where it is no YAML, and with the rest of the tree returned where a key is given twice and the like.
pub(super) fn parse(texts: &mut Texts, id: TextId, problems: &mut Problems) -> Option<Node> {
    let text = std::mem::take(&mut texts.get_mut(id).text);
    let mut builder = Builder::new(id);
    let result = check_text(id, &text).and_then(|()| builder.run(&text));
    texts.get_mut(id).text = text;
    texts.set_values(id, std::mem::take(&mut builder.values), result.is_ok());
    for Fault { at, key, what, remedy, also } in std::mem::take(&mut builder.faults) {
        let problem = Problem::new(texts, at, &key, what, remedy);
        problems.push(also.into_iter().fold(problem, |problem, first| problem.and_at(texts, first)));
    }
    match result {
        Ok(root) => root,
        Err(Fault { at, key, what, remedy, .. }) => {
            problems.push(Problem::new(texts, at, &key, what, remedy));
            None
        }
    }
}

/// Bytes as text, or what is wrong with them.
pub(super) fn decode(bytes: Vec<u8>) -> Result<String, (String, &'static str)> {
    let remedy = "save the file as UTF-8";
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(("the text is UTF-16".to_owned(), remedy));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let byte = error.as_bytes()[before.len()];
        (format!("the text is not UTF-8: byte 0x{byte:02x} in line {line}"), remedy)
    })
}

/// Refuses what the parser would take for the end of the text, or a terminal for a command.
fn check_text(id: TextId, text: &str) -> Result<(), Fault> {
    if text.len() > MAX_TEXT {
        let what = format!("the text has {} bytes, and at most {MAX_TEXT} are read", text.len());
        return Err(Fault::new(Position::whole(id), what, "part it with `include`"));
    }
    let allowed =
        |character: char| !character.is_control() || matches!(character, '\t' | '\n' | '\r' | '\u{85}');
    let Some((byte, character)) = text.char_indices().find(|(_, character)| !allowed(*character)) else {
        return Ok(());
    };
    let before = &text[..byte];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let at = Position {
        text: id,
        line: narrow(before.matches('\n').count() + 1),
        column: narrow(text[line_start..byte].chars().count() + 1),
    };
    let what = format!("the control character U+{:04X} can't stand in YAML", u32::from(character));
    Err(Fault::new(at, what, "remove it, or write it as an escape in double quotes"))
}

/// A problem before it is told apart from its text.
struct Fault {
    at: Position,
    key: String,
    what: String,
    remedy: String,
    also: Option<Position>,
}

impl Fault {
    fn new(at: Position, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { at, key: String::new(), what: what.into(), remedy: remedy.into(), also: None }
    }
}

/// A container that is not closed yet.
struct Frame {
    at: Position,
    anchor: usize,
    /// Deepest level below this one.
    height: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, index: HashMap<String, usize>, key: Pending },
}

/// Where a map stands between two events.
enum Pending {
    /// A key comes next.
    None,
    /// A value comes next.
    Key(String, Position),
    /// A value comes next and is left out: its key was refused.
    Refused,
}

/// A node that aliases may name.
struct Anchored {
    node: Node,
    nodes: usize,
    bytes: usize,
    height: usize,
}

struct Builder {
    id: TextId,
    stack: Vec<Frame>,
    anchored: HashMap<usize, Anchored>,
    nodes: usize,
    bytes: usize,
    values: Vec<Range<usize>>,
    faults: Vec<Fault>,
    root: Option<Node>,
    documents: usize,
}

impl Builder {
    fn new(id: TextId) -> Self {
        Self {
            id,
            stack: Vec::new(),
            anchored: HashMap::new(),
            nodes: 0,
            bytes: 0,
            values: Vec::new(),
            faults: Vec::new(),
            root: None,
            documents: 0,
        }
    }

    fn run(&mut self, text: &str) -> Result<Option<Node>, Fault> {
        let options = granit_parser::options! {
            emit_comments: false,
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
        };
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = event.map_err(|error| self.syntax(text, error.marker(), error.kind()))?;
            self.take(event, span)?;
        }
        Ok(self.root.take())
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let at = self.position(&span.start);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let what = "a second document begins here, and one file holds one";
                    return Err(Fault::new(at, what, "move it to a file of its own and `include` it"));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tagged_text = self.check_tag(at, tag.as_deref())?;
                self.count(at, 1, text.len(), 0)?;
                let plain = style == ScalarStyle::Plain && !tagged_text;
                let scalar = Scalar { text: text.into_owned(), plain, literal: false };
                let bytes = scalar.text.len();
                let node = Node { at, value: Value::Scalar(scalar) };
                if anchor != 0 {
                    self.remember(anchor, &node, 1, bytes, 0)?;
                }
                self.place(node, span.byte_range(), 0)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(at, tag.as_deref())?;
                self.open(at, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(at, tag.as_deref())?;
                let content = Content::Map { entries: Vec::new(), index: HashMap::new(), key: Pending::None };
                self.open(at, anchor, content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.repeat(at, anchor),
            // Comments, anchors' names and unresolved aliases are not asked for.
            _ => Ok(()),
        }
    }

    fn open(&mut self, at: Position, anchor: usize, content: Content) -> Result<(), Fault> {
        self.count(at, 1, 0, 0)?;
        self.stack.push(Frame { at, anchor, height: 0, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(Frame { at, anchor, height, content }) = self.stack.pop() else {
            return Ok(());
        };
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => Value::Map(entries),
        };
        let node = Node { at, value };
        if anchor != 0 {
            let (nodes, bytes) = measure(&node);
            self.remember(anchor, &node, nodes, bytes, height)?;
        }
        self.place(node, None, height + 1)
    }

    /// Keeps a copy for aliases; the copy counts, so that anchors within anchors can't grow without bound.
    fn remember(
        &mut self,
        anchor: usize,
        node: &Node,
        nodes: usize,
        bytes: usize,
        height: usize,
    ) -> Result<(), Fault> {
        self.count(node.at, nodes, bytes, 0)?;
        self.anchored.insert(anchor, Anchored { node: node.clone(), nodes, bytes, height });
        Ok(())
    }

    fn repeat(&mut self, at: Position, anchor: usize) -> Result<(), Fault> {
        let Some(Anchored { nodes, bytes, height, .. }) = self.anchored.get(&anchor) else {
            let what = "the alias names the collection that it stands in";
            return Err(Fault::new(at, what, "write the value out"));
        };
        let (nodes, bytes, height) = (*nodes, *bytes, *height);
        self.count(at, nodes, bytes, height)?;
        let node = self.anchored[&anchor].node.clone();
        let levels = height + usize::from(!matches!(node.value, Value::Scalar(_)));
        self.place(node, None, levels)
    }

    /// Holds the bounds: before anything is kept.
    fn count(&mut self, at: Position, nodes: usize, bytes: usize, height: usize) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.nodes > MAX_NODES {
            let what =
                format!("the configuration has more than {MAX_NODES} values, counting what aliases repeat");
            return Err(Fault::new(at, what, "make it smaller"));
        }
        if self.bytes > MAX_EXPANDED {
            let what =
                format!("the configuration has more than {MAX_EXPANDED} bytes, counting what aliases repeat");
            return Err(Fault::new(at, what, "make it smaller"));
        }
        if self.stack.len() + height >= MAX_DEPTH {
            let what = format!("the configuration is nested deeper than {MAX_DEPTH} levels");
            return Err(Fault::new(at, what, "make it flatter"));
        }
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node, range: Option<Range<usize>>, levels: usize) -> Result<(), Fault> {
        let path = if self.is_repeated() { self.path() } else { String::new() };
        let Some(frame) = self.stack.last_mut() else {
            self.values.extend(range);
            self.root = Some(node);
            return Ok(());
        };
        frame.height = frame.height.max(levels);
        match &mut frame.content {
            Content::List(items) => {
                self.values.extend(range);
                items.push(node);
            }
            Content::Map { entries, index, key } => match std::mem::replace(key, Pending::None) {
                Pending::None => match check_key(node) {
                    Ok((text, at)) => {
                        self.values.extend(range.filter(|_| !is_key_like(&text)));
                        *key = Pending::Key(text, at);
                    }
                    Err(fault) => {
                        // It is masked in excerpts, since nobody knows what it was meant to be.
                        self.values.extend(range);
                        self.faults.push(fault);
                        *key = Pending::Refused;
                    }
                },
                Pending::Key(text, at) => {
                    self.values.extend(range);
                    if let Some(first) = index.get(&text) {
                        let what = format!("the key {} is given twice", quote_key(&text));
                        let mut fault = Fault::new(at, what, "keep one of the two");
                        fault.key = path;
                        fault.also = Some(entries[*first].key_at);
                        self.faults.push(fault);
                    } else {
                        index.insert(text.clone(), entries.len());
                        entries.push(Entry { key: text, key_at: at, value: node });
                    }
                }
                Pending::Refused => self.values.extend(range),
            },
        }
        Ok(())
    }

    /// Whether the innermost map has the key already that waits for its value.
    fn is_repeated(&self) -> bool {
        match self.stack.last().map(|frame| &frame.content) {
            Some(Content::Map { index, key: Pending::Key(text, _), .. }) => index.contains_key(text),
            _ => false,
        }
    }

    /// The dotted key of what is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            match &frame.content {
                Content::List(items) => path.push_str(&format!("[{}]", items.len())),
                Content::Map { key: Pending::Key(text, _), .. } => path = join(&path, text),
                Content::Map { .. } => {}
            }
        }
        path
    }

    /// Whether the node is tagged as text; refuses tags that YAML's core schema does not have.
    fn check_tag(&self, at: Position, tag: Option<&Tag>) -> Result<bool, Fault> {
        let Some(tag) = tag else { return Ok(false) };
        match tag.core_suffix() {
            Some(name) => Ok(name == "str"),
            None if tag.original() == "!" => Ok(true),
            None => {
                let what = "a tag stands here (`!...`) that is not known";
                Err(Fault::new(at, what, "remove it, or put the value in quotes if it begins with `!`"))
            }
        }
    }

    fn position(&self, marker: &Marker) -> Position {
        Position { text: self.id, line: narrow(marker.line()), column: narrow(marker.col() + 1) }
    }

    fn syntax(&self, text: &str, marker: &Marker, kind: &ErrorKind) -> Fault {
        let at = self.position(marker);
        let around = marker.byte_offset().and_then(|byte| text.split_at_checked(byte));
        if around.is_some_and(|(before, after)| before.ends_with('$') && after.starts_with('{')) {
            let what = "`${...}` stands without quotes inside `{...}` or `[...]`";
            return Fault::new(at, what, "put it in quotes: \"${...}\"");
        }
        let (what, remedy) = match kind {
            ErrorKind::RecursionLimitExceeded => {
                (format!("the configuration is nested deeper than {MAX_DEPTH} levels"), "make it flatter")
            }
            ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar
            | ErrorKind::TabAtBlockScalarStart => {
                ("a tab stands where YAML takes only spaces".to_owned(), "indent with spaces")
            }
            ErrorKind::UnknownAnchor => (
                "the alias names an anchor that is not defined above it".to_owned(),
                "define it, or put the text in quotes",
            ),
            ErrorKind::UnclosedQuotedScalar => {
                ("a quote is opened here and not closed".to_owned(), "close it")
            }
            ErrorKind::UnclosedFlowCollection { open } => {
                (format!("a bracket `{open}` is opened and not closed"), "close it")
            }
            ErrorKind::MappingValueNotAllowed => (
                "a colon stands where no key can be".to_owned(),
                "indent keys of one level alike, and put text that holds `: ` in quotes",
            ),
            ErrorKind::UnexpectedCharacter { character } if matches!(character, '%' | '@' | '`') => {
                (format!("a value can't begin with `{character}` without quotes"), "put it in quotes")
            }
            kind => {
                (format!("this is not YAML: {kind}"), "check indentation, quotes and brackets up to here")
            }
        };
        Fault::new(at, what, remedy)
    }
}

/// The text of a key, or why it can't be one.
fn check_key(node: Node) -> Result<(String, Position), Fault> {
    let at = node.at;
    match node.value {
        Value::Scalar(scalar) if scalar.plain && scalar.text == "<<" => {
            let what = "merge keys (`<<`) belong to YAML 1.1 and are not read";
            Err(Fault::new(at, what, "write the keys out"))
        }
        Value::Scalar(scalar) if scalar.is_null() => Err(Fault::new(
            at,
            "a key is missing before the colon",
            "write one, in quotes if it is meant to be empty",
        )),
        Value::Scalar(scalar) if scalar.plain && is_typed(&scalar.text) => Err(Fault::new(
            at,
            format!("the key `{}` is not a text", scalar.text),
            format!("put it in quotes: \"{}\"", scalar.text),
        )),
        Value::Scalar(scalar) => Ok((scalar.text, at)),
        Value::List(_) => {
            Err(Fault::new(at, "a list can't be a key", "use a text; put `[...]` in quotes if it is one"))
        }
        Value::Map(_) => {
            Err(Fault::new(at, "a map can't be a key", "use a text; put `{...}` in quotes if it is one"))
        }
    }
}

/// Nodes and bytes of a tree, itself included.
fn measure(node: &Node) -> (usize, usize) {
    let add = |(nodes, bytes): (usize, usize), (more_nodes, more_bytes): (usize, usize)| {
        (nodes + more_nodes, bytes + more_bytes)
    };
    match &node.value {
        Value::Scalar(scalar) => (1, scalar.text.len()),
        Value::List(items) => items.iter().map(measure).fold((1, 0), add),
        Value::Map(entries) => {
            let sizes = entries.iter().map(|entry| add(measure(&entry.value), (0, entry.key.len())));
            sizes.fold((1, 0), add)
        }
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
