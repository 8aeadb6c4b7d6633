//! Templates that cannot take more memory than they are given.
//!
//! A template is a program of somebody else's. minijinja counts its steps, but forty steps that each double a string want a
//! terabyte. So everything that a template makes is counted here: what it writes, captured or not, passes the formatter, and
//! the parsed template is written anew with every expression that makes a value (`+`, `~`, `*`, lists, maps, slices, filters,
//! calls) followed by a filter, [`KEPT`], that measures the value as if nothing in it were shared. A value is thus never
//! larger than the budget, nor are all together, and an operation makes at most twice that before it is measured.
//! Filters whose results do not follow from the size of what they are given (`replace`, `join`, `indent`, ...) are measured
//! before they work.
//!
//! Steps bound no time either: one may compare or count megabytes. So what a filter, a test, a comparison, a method or a
//! slice is given is measured too ([`SEEN`], [`HELD`]), against [`LOOKS`].

use std::{
    fmt::{self, Write as _},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, Value, functions,
    machinery::{
        CodeGenerator, Span, Token, Vm, WhitespaceConfig,
        ast::{self, CallArg, Expr, Spanned, Stmt},
        make_string_output, parse, tokenize,
    },
    tests::is_sameas,
    value::{Rest, ValueKind},
};

/// Bytes that a rendering may make, besides [`EACH`] for each byte that it is given.
const BASE: usize = 32 << 20;
/// See [`BASE`].
const EACH: usize = 64;
/// Bytes that a rendering may look at, besides [`LOOKS_EACH`] for each byte of the first [`LOOKS_MOST`] that it is given:
/// templates look at the whole conversation again for each of its turns.
const LOOKS: usize = 64 << 20;
/// See [`LOOKS`].
const LOOKS_EACH: usize = 4096;
/// See [`LOOKS`].
const LOOKS_MOST: usize = 1 << 20;
/// What it takes to look at a value, in bytes that are read in the same time.
const LOOK: usize = 256;
/// What names given to a filter take, of an attribute and a test.
const LOOKS_FREE: usize = 4 * LOOK;
/// Steps that a rendering may take: hundreds of times what a long conversation needs, and an end to endless ones.
const STEPS: u64 = 5_000_000;
/// Values within values.
const DEPTH: usize = 64;
/// Tokens between `{{` and `}}`. Each can put one expression into another, and each level takes stack where templates are
/// parsed, written anew and compiled. The longest of published templates has less than a hundred.
const LONGEST_TAG: usize = 400;
/// `elif`s of a template, each of which lies in the one before.
const BRANCHES: usize = 200;
/// What a value takes beside its text.
const CELL: usize = 24;
/// Largest number that a filter is given: a width, or a count of columns.
const LARGEST: i64 = 10_000;

const KEPT: &str = "fovea_kept";
const KEPT_IN_NAMESPACE: &str = "fovea_kept_in_namespace";
const JOINED: &str = "fovea_joined";
/// Measures all of what an operation looks through.
const SEEN: &str = "fovea_seen";
/// Measures what an operation looks through, without what it holds.
const HELD: &str = "fovea_held";

/// What is left of a rendering's memory, and its namespaces: values that can change, and so could come to hold themselves.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicUsize,
    /// Bytes that may still be looked at.
    looks: AtomicUsize,
    namespaces: Mutex<Vec<Value>>,
}

/// How much a rendering may take.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// A conversation's: [`BASE`] and [`STEPS`].
    Whole,
    /// A trial's, of a few words: a 32nd of that.
    Trial,
}

impl Limit {
    fn share(self) -> usize {
        match self {
            Self::Whole => 1,
            Self::Trial => 32,
        }
    }
}

impl Budget {
    fn new(given: usize, limit: Limit) -> Self {
        let left = (BASE / limit.share()).saturating_add(given.saturating_mul(EACH));
        let looks = (LOOKS / limit.share()).saturating_add(given.min(LOOKS_MOST).saturating_mul(LOOKS_EACH));
        Self { left: AtomicUsize::new(left), looks: AtomicUsize::new(looks), namespaces: Mutex::default() }
    }

    fn spend(&self, bytes: usize) -> Result<(), Error> {
        let spent = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        spent.map(|_| ()).map_err(|_| too_much())
    }

    fn spend_looks(&self, bytes: usize) -> Result<(), Error> {
        let spent = self.looks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        spent
            .map(|_| ())
            .map_err(|_| Error::new(ErrorKind::InvalidOperation, "it looks at more than it could of any conversation"))
    }

    /// Spends what looking at a value takes: `deep` with all that it holds.
    fn look(&self, value: &Value, deep: bool, depth: usize) -> Result<(), Error> {
        let bytes = match value.kind() {
            ValueKind::String | ValueKind::Bytes => value.as_bytes().map_or(0, <[u8]>::len),
            _ => 0,
        };
        self.spend_looks(bytes.saturating_add(LOOK))?;
        // What makes its items as they are asked for has to be asked for all of them even to be counted.
        let deep = deep || value.kind() == ValueKind::Iterable;
        if !deep || depth > DEPTH || self.is_namespace(value) {
            return Ok(());
        }
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                value.try_iter()?.try_for_each(|item| self.look(&item, deep, depth + 1))
            }
            ValueKind::Map => value.try_iter()?.try_for_each(|key| self.look(&value.get_item(&key)?, deep, depth + 1)),
            _ => Ok(()),
        }
    }

    fn is_namespace(&self, value: &Value) -> bool {
        let all = self.namespaces.lock().map(|all| all.iter().any(|it| is_sameas(it, value)));
        value.as_object().is_some() && all.unwrap_or(true)
    }

    /// Spends what a value takes, as if nothing in it were shared.
    fn spend_on(&self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH {
            return Err(Error::new(ErrorKind::InvalidOperation, format!("values within values, {DEPTH} deep")));
        }
        if depth > 0 && self.is_namespace(value) {
            return Err(Error::new(ErrorKind::InvalidOperation, "a namespace within a value"));
        }
        self.spend(CELL)?;
        match value.kind() {
            ValueKind::String | ValueKind::Bytes => self.spend(value.as_bytes().map_or(0, <[u8]>::len)),
            ValueKind::Seq | ValueKind::Iterable => {
                value.try_iter()?.try_for_each(|item| self.spend_on(&item, depth + 1))
            }
            ValueKind::Map => value.try_iter()?.try_for_each(|key| {
                self.spend_on(&key, depth + 1)?;
                self.spend_on(&value.get_item(&key)?, depth + 1)
            }),
            _ => Ok(()),
        }
    }

    /// A value's text.
    fn text(&self, value: &Value) -> Result<String, Error> {
        let mut text = Counted { inner: String::new(), budget: self };
        write!(text, "{value}").map_err(|_| too_much())?;
        Ok(text.inner)
    }
}

fn too_much() -> Error {
    let reason = format!("it makes more than {} MiB and {EACH} times the conversation", BASE >> 20);
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// Text or bytes, of which each is counted.
struct Counted<'a, W> {
    inner: W,
    budget: &'a Budget,
}

impl<W: fmt::Write> fmt::Write for Counted<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.budget.spend(text.len()).map_err(|_| fmt::Error)?;
        self.inner.write_str(text)
    }
}

impl io::Write for Counted<'_, Vec<u8>> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.budget.spend(bytes.len()).map_err(io::Error::other)?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a template's `tojson` writes to.
pub(super) struct Json<'a>(Counted<'a, Vec<u8>>);

impl<'a> Json<'a> {
    pub(super) fn new(budget: &'a Budget) -> Self {
        Self(Counted { inner: Vec::new(), budget })
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0.inner
    }
}

impl io::Write for Json<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whitespace control as `transformers` sets it.
const WHITESPACE: WhitespaceConfig =
    WhitespaceConfig { keep_trailing_newline: false, lstrip_blocks: true, trim_blocks: true };

/// Finds what is wrong with a template before it is rendered.
pub(super) fn check(name: &str, source: &str) -> Result<(), Error> {
    statement(&parsed(name, source)?).map(|_| ())
}

/// A template's statements, if they are not so deep that whoever walks over them runs out of stack: minijinja bounds
/// blocks within blocks and parentheses, but neither chains such as `1 + 1 + ...`, `not not ...`, `x.x.x ...` nor `elif`s.
fn parsed<'a>(name: &'a str, source: &'a str) -> Result<Stmt<'a>, Error> {
    let (mut tag, mut branches, mut begins) = (0, 0, false);
    // What is no token is for the parser to tell.
    for (token, _) in tokenize(source, false, Default::default(), WHITESPACE).map_while(Result::ok) {
        match token {
            Token::VariableStart | Token::BlockStart => tag = 0,
            Token::Ident("elif") if begins => branches += 1,
            _ => tag += 1,
        }
        begins = matches!(token, Token::BlockStart);
        if tag > LONGEST_TAG || branches > BRANCHES {
            let what = if branches > BRANCHES { "elif branches" } else { "tokens in one tag" };
            let most = if branches > BRANCHES { BRANCHES } else { LONGEST_TAG };
            return Err(Error::new(ErrorKind::InvalidOperation, format!("more than {most} {what}")));
        }
    }
    parse(source, name, Default::default(), WHITESPACE)
}

/// Renders a template within its budget. `given` is the size of its context; `extend` adds what it may call.
pub(super) fn render(
    name: &str,
    source: &str,
    context: Value,
    given: usize,
    limit: Limit,
    extend: impl FnOnce(&mut Environment<'_>, &Arc<Budget>),
) -> Result<String, Error> {
    let budget = Arc::new(Budget::new(given, limit));
    let mut environment = Environment::new();
    environment.set_fuel(Some(STEPS / limit.share() as u64));
    prepare(&mut environment, &budget);
    extend(&mut environment, &budget);
    let parsed = statement(&parsed(name, source)?)?;
    let mut generator = CodeGenerator::new(name, source);
    generator.compile_stmt(&parsed);
    let (instructions, blocks) = generator.finish();
    let mut written = String::new();
    let mut output = make_string_output(&mut written);
    Vm::new(&environment).eval(&instructions, context, &blocks, &mut output, AutoEscape::None).map(|_| ())?;
    drop(output);
    Ok(written)
}

/// Makes everything that writes or makes values count.
fn prepare(environment: &mut Environment<'_>, budget: &Arc<Budget>) {
    let own = Arc::clone(budget);
    environment.set_formatter(move |output: &mut Output<'_>, _: &State<'_, '_>, value: &Value| {
        let mut counted = Counted { inner: Writer(output), budget: &own };
        write!(counted, "{value}").map_err(|_| too_much())
    });
    let own = Arc::clone(budget);
    environment.add_filter(KEPT, move |value: Value| own.spend_on(&value, 0).map(|()| value));
    let own = Arc::clone(budget);
    environment.add_filter(KEPT_IN_NAMESPACE, move |value: Value| own.spend_on(&value, 1).map(|()| value));
    for (name, deep) in [(SEEN, true), (HELD, false)] {
        let own = Arc::clone(budget);
        environment.add_filter(name, move |value: Value| own.look(&value, deep, 0).map(|()| value));
    }
    let own = Arc::clone(budget);
    environment.add_filter(JOINED, move |left: Value, right: Value| {
        let mut text = own.text(&left)?;
        text += &own.text(&right)?;
        Ok::<_, Error>(Value::from(text))
    });
    let own = Arc::clone(budget);
    environment.add_function("namespace", move |defaults: Option<Value>| {
        let made = functions::namespace(defaults)?;
        own.spend_on(&made, 0)?;
        match own.namespaces.lock() {
            Ok(mut all) if all.len() < 1000 => all.push(made.clone()),
            _ => return Err(Error::new(ErrorKind::InvalidOperation, "more than 1000 namespaces")),
        }
        Ok(made)
    });
    let own = Arc::clone(budget);
    environment.add_filter("replace", move |value: Value, from: Value, to: Value| {
        replaced(&own, &own.text(&value)?, &own.text(&from)?, &own.text(&to)?, None)
    });
    let own = Arc::clone(budget);
    environment.add_filter("join", move |value: Value, between: Option<Value>| {
        joined(&own, &value, &between.map_or(Ok(String::new()), |between| own.text(&between))?)
    });
    let own = Arc::clone(budget);
    environment.add_filter("string", move |value: Value| own.text(&value));
    // Their own numbers say how much they make.
    environment.add_filter("fovea_indent", minijinja::filters::indent);
    environment.add_filter("fovea_batch", minijinja::filters::batch);
    environment.add_filter("fovea_slice", minijinja::filters::slice);
    environment.add_filter("fovea_format", minijinja::filters::format);
    for (name, inner) in
        [("indent", "fovea_indent"), ("batch", "fovea_batch"), ("slice", "fovea_slice"), ("format", "fovea_format")]
    {
        let own = Arc::clone(budget);
        environment.add_filter(name, move |state: &State<'_, '_>, arguments: Rest<Value>| {
            check_numbers(&arguments)?;
            let lines = arguments.first().and_then(Value::as_str).map_or(1, |text| text.matches('\n').count() + 1);
            if name == "indent" {
                let width = arguments.iter().filter_map(Value::as_usize).max().unwrap_or(LARGEST as usize);
                own.spend(lines.saturating_mul(width))?;
            }
            state.apply_filter(inner, &arguments)
        });
    }
    // They look at what they are given once for each item.
    environment.add_filter("fovea_select", minijinja::filters::select);
    environment.add_filter("fovea_reject", minijinja::filters::reject);
    environment.add_filter("fovea_selectattr", minijinja::filters::selectattr);
    environment.add_filter("fovea_rejectattr", minijinja::filters::rejectattr);
    environment.add_filter("fovea_map", minijinja::filters::map);
    for (name, inner) in [
        ("select", "fovea_select"),
        ("reject", "fovea_reject"),
        ("selectattr", "fovea_selectattr"),
        ("rejectattr", "fovea_rejectattr"),
        ("map", "fovea_map"),
    ] {
        let own = Arc::clone(budget);
        environment.add_filter(name, move |state: &State<'_, '_>, arguments: Rest<Value>| {
            if let Some((items, given)) = arguments.split_first() {
                let before = own.looks.load(Ordering::Relaxed);
                given.iter().try_for_each(|value| own.look(value, true, 0))?;
                let each = before.saturating_sub(own.looks.load(Ordering::Relaxed));
                let items = items.len().unwrap_or_else(|| items.try_iter().map_or(0, Iterator::count));
                // Names of attributes and tests are looked at, too, and are nothing beside an item.
                own.spend_looks(each.saturating_sub(LOOKS_FREE).saturating_mul(items))?;
            }
            state.apply_filter(inner, &arguments)
        });
    }
    let own = Arc::clone(budget);
    environment.set_unknown_method_callback(move |state, value, method, arguments| {
        let text = |index: usize| arguments.get(index).map_or(Ok(String::new()), |value| own.text(value));
        match (value.as_str(), method) {
            (Some(own_text), "replace") if (2..=3).contains(&arguments.len()) => {
                let most = arguments.get(2).and_then(|count| i64::try_from(count.clone()).ok());
                replaced(&own, own_text, &text(0)?, &text(1)?, most.and_then(|most| usize::try_from(most).ok()))
            }
            (Some(between), "join") if arguments.len() == 1 => joined(&own, &arguments[0], between),
            (Some(_), "format") => {
                check_numbers(std::slice::from_ref(value))?;
                check_numbers(arguments)?;
                minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments)
            }
            (Some(all), "split" | "splitlines") => {
                let pieces = match arguments.first().and_then(Value::as_str) {
                    Some(between) if !between.is_empty() => all.matches(between).count(),
                    _ => all.split_whitespace().count() + all.lines().count(),
                };
                own.spend(pieces.saturating_mul(CELL))?;
                minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments)
            }
            _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments),
        }
    });
}

/// An [`Output`], as something to write to.
struct Writer<'a, 'b>(&'a mut Output<'b>);

impl fmt::Write for Writer<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(text)
    }
}

fn replaced(budget: &Budget, text: &str, from: &str, to: &str, most: Option<usize>) -> Result<Value, Error> {
    let count = text.matches(from).take(most.unwrap_or(usize::MAX)).count();
    budget.spend(text.len().saturating_add(count.saturating_mul(to.len())))?;
    Ok(Value::from(match most {
        Some(most) => text.replacen(from, to, most),
        None => text.replace(from, to),
    }))
}

fn joined(budget: &Budget, values: &Value, between: &str) -> Result<Value, Error> {
    let mut text = Counted { inner: String::new(), budget };
    for (index, value) in values.try_iter()?.enumerate() {
        if index > 0 {
            text.write_str(between).map_err(|_| too_much())?;
        }
        write!(text, "{value}").map_err(|_| too_much())?;
    }
    Ok(Value::from(text.inner))
}

/// Refuses numbers, and formats with widths, that make more than they look like.
fn check_numbers(values: &[Value]) -> Result<(), Error> {
    let wrong = || Error::new(ErrorKind::InvalidOperation, format!("a width or count beyond {LARGEST}"));
    for value in values {
        let digits = |text: &str| text.split(|letter: char| !letter.is_ascii_digit()).any(|run| run.len() > 4);
        let is_wrong = match value.kind() {
            ValueKind::Number => value.as_i64().is_none_or(|number| number > LARGEST),
            // `%99999d`, and `%*d`, whose width is an argument.
            ValueKind::String => value.as_str().is_some_and(digits),
            // Arguments by name.
            ValueKind::Map => {
                for key in value.try_iter()? {
                    check_numbers(&[value.get_item(&key)?])?;
                }
                false
            }
            _ => false,
        };
        if is_wrong {
            return Err(wrong());
        }
    }
    Ok(())
}

type Written<T> = Result<T, Error>;

fn statements<'a>(all: &[Stmt<'a>]) -> Written<Vec<Stmt<'a>>> {
    all.iter().map(statement).collect()
}

/// The same statement, whose expressions count what they make.
fn statement<'a>(stmt: &Stmt<'a>) -> Written<Stmt<'a>> {
    let refused =
        |what: &str| Err(Error::new(ErrorKind::InvalidOperation, format!("`{what}` is not read in a chat template")));
    Ok(match stmt {
        Stmt::Template(it) => {
            Stmt::Template(Spanned::new(ast::Template { children: statements(&it.children)? }, it.span()))
        }
        Stmt::EmitExpr(it) => Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr: expression(&it.expr) }, it.span())),
        // So that it passes the formatter too.
        Stmt::EmitRaw(it) => {
            let text = Expr::Const(Spanned::new(ast::Const { value: Value::from(it.raw) }, it.span()));
            Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr: text }, it.span()))
        }
        Stmt::ForLoop(it) => Stmt::ForLoop(Spanned::new(
            ast::ForLoop {
                target: target(&it.target),
                iter: expression(&it.iter),
                filter_expr: it.filter_expr.as_ref().map(expression),
                recursive: it.recursive,
                body: statements(&it.body)?,
                else_body: statements(&it.else_body)?,
            },
            it.span(),
        )),
        Stmt::IfCond(it) => Stmt::IfCond(Spanned::new(
            ast::IfCond {
                expr: expression(&it.expr),
                true_body: statements(&it.true_body)?,
                false_body: statements(&it.false_body)?,
            },
            it.span(),
        )),
        Stmt::WithBlock(it) => Stmt::WithBlock(Spanned::new(
            ast::WithBlock {
                assignments: it.assignments.iter().map(|(to, from)| (target(to), expression(from))).collect(),
                body: statements(&it.body)?,
            },
            it.span(),
        )),
        Stmt::Set(it) => {
            let expr = expression(&it.expr);
            let expr = match it.target {
                Expr::GetAttr(_) => filtered(KEPT_IN_NAMESPACE, Some(expr), Vec::new(), it.span()),
                _ => expr,
            };
            Stmt::Set(Spanned::new(ast::Set { target: target(&it.target), expr }, it.span()))
        }
        Stmt::SetBlock(it) => Stmt::SetBlock(Spanned::new(
            ast::SetBlock {
                target: target(&it.target),
                filter: it.filter.as_ref().map(expression),
                body: statements(&it.body)?,
            },
            it.span(),
        )),
        Stmt::FilterBlock(it) => Stmt::FilterBlock(Spanned::new(
            ast::FilterBlock { filter: expression(&it.filter), body: statements(&it.body)? },
            it.span(),
        )),
        Stmt::Macro(it) => Stmt::Macro(macro_of(it)?),
        Stmt::CallBlock(it) => Stmt::CallBlock(Spanned::new(
            ast::CallBlock { call: call(&it.call), macro_decl: macro_of(&it.macro_decl)? },
            it.span(),
        )),
        Stmt::Continue(it) => Stmt::Continue(Spanned::new(ast::Continue, it.span())),
        Stmt::Break(it) => Stmt::Break(Spanned::new(ast::Break, it.span())),
        Stmt::Do(it) => Stmt::Do(Spanned::new(ast::Do { call: call(&it.call) }, it.span())),
        Stmt::Block(_) => return refused("block"),
        Stmt::Import(_) | Stmt::FromImport(_) => return refused("import"),
        Stmt::Extends(_) => return refused("extends"),
        Stmt::Include(_) => return refused("include"),
        Stmt::AutoEscape(_) => return refused("autoescape"),
    })
}

fn macro_of<'a>(it: &Spanned<ast::Macro<'a>>) -> Written<Spanned<ast::Macro<'a>>> {
    let inner = ast::Macro {
        name: it.name,
        args: it.args.iter().map(target).collect(),
        defaults: it.defaults.iter().map(expression).collect(),
        body: statements(&it.body)?,
    };
    Ok(Spanned::new(inner, it.span()))
}

/// Filters that look no further than at the value itself: its letters, or how many items it has.
const SHALLOW: &[&str] = &["count", "d", "default", "first", "last", "length", "trim"];
/// Tests that look through both of what they compare; others look at the value itself.
const COMPARES: &[&str] =
    &["!=", "<", "<=", "==", ">", ">=", "eq", "equalto", "ge", "greaterthan", "gt", "in", "le", "lessthan", "lt", "ne"];

fn call<'a>(it: &Spanned<ast::Call<'a>>) -> Spanned<ast::Call<'a>> {
    let (expr, how) = match &it.expr {
        // A method looks at its value, and through what it is given: `loop.changed`, `count`.
        Expr::GetAttr(method) => {
            let expr = looked(HELD, expression(&method.expr), method.span());
            (Expr::GetAttr(Spanned::new(ast::GetAttr { expr, name: method.name }, method.span())), SEEN)
        }
        other => (target(other), HELD),
    };
    Spanned::new(ast::Call { expr, args: arguments(how, &it.args) }, it.span())
}

fn arguments<'a>(how: &'static str, all: &[CallArg<'a>]) -> Vec<CallArg<'a>> {
    let argument = |argument: &CallArg<'a>| match argument {
        CallArg::Pos(expr) => CallArg::Pos(looked_at(how, expr)),
        CallArg::Kwarg(name, expr) => CallArg::Kwarg(name, looked_at(how, expr)),
        CallArg::PosSplat(expr) => CallArg::PosSplat(expression(expr)),
        CallArg::KwargSplat(expr) => CallArg::KwargSplat(expression(expr)),
    };
    all.iter().map(argument).collect()
}

fn filtered<'a>(name: &'static str, expr: Option<Expr<'a>>, args: Vec<CallArg<'a>>, span: Span) -> Expr<'a> {
    Expr::Filter(Spanned::new(ast::Filter { name, expr, args }, span))
}

/// An expression whose value is looked at.
fn looked_at<'a>(name: &'static str, expr: &Expr<'a>) -> Expr<'a> {
    match expr {
        // These are small, and some are known to the compiler by their form.
        Expr::Const(_) => expression(expr),
        other => {
            let span = other.span();
            looked(name, expression(other), span)
        }
    }
}

fn looked<'a>(name: &'static str, expr: Expr<'a>, span: Span) -> Expr<'a> {
    filtered(name, Some(expr), Vec::new(), span)
}

/// What is assigned to, or called: names and parts, but the whole is no value that is made.
fn target<'a>(expr: &Expr<'a>) -> Expr<'a> {
    match expr {
        Expr::List(it) => {
            Expr::List(Spanned::new(ast::List { items: it.items.iter().map(target).collect() }, it.span()))
        }
        other => expression(other),
    }
}

/// The same expression, which counts what it makes.
fn expression<'a>(expr: &Expr<'a>) -> Expr<'a> {
    let kept = |expr: Expr<'a>, span| filtered(KEPT, Some(expr), Vec::new(), span);
    match expr {
        Expr::Var(it) => Expr::Var(Spanned::new(ast::Var { id: it.id }, it.span())),
        Expr::Const(it) => Expr::Const(Spanned::new(ast::Const { value: it.value.clone() }, it.span())),
        Expr::Slice(it) => {
            let inner = ast::Slice {
                expr: looked_at(HELD, &it.expr),
                start: it.start.as_ref().map(expression),
                stop: it.stop.as_ref().map(expression),
                step: it.step.as_ref().map(expression),
            };
            kept(Expr::Slice(Spanned::new(inner, it.span())), it.span())
        }
        Expr::UnaryOp(it) => {
            // Its type cannot be copied.
            #[allow(clippy::needless_match)]
            let op = match it.op {
                ast::UnaryOpKind::Not => ast::UnaryOpKind::Not,
                ast::UnaryOpKind::Neg => ast::UnaryOpKind::Neg,
            };
            Expr::UnaryOp(Spanned::new(ast::UnaryOp { op, expr: expression(&it.expr) }, it.span()))
        }
        Expr::BinOp(it) => {
            let (left, right) = (expression(&it.left), expression(&it.right));
            match it.op {
                ast::BinOpKind::Concat => {
                    kept(filtered(JOINED, Some(left), vec![CallArg::Pos(right)], it.span()), it.span())
                }
                ast::BinOpKind::Add | ast::BinOpKind::Mul => {
                    kept(Expr::BinOp(Spanned::new(ast::BinOp { op: it.op, left, right }, it.span())), it.span())
                }
                ast::BinOpKind::Eq
                | ast::BinOpKind::Ne
                | ast::BinOpKind::Lt
                | ast::BinOpKind::Lte
                | ast::BinOpKind::Gt
                | ast::BinOpKind::Gte
                | ast::BinOpKind::In => {
                    let (left, right) = (looked_at(SEEN, &it.left), looked_at(SEEN, &it.right));
                    Expr::BinOp(Spanned::new(ast::BinOp { op: it.op, left, right }, it.span()))
                }
                op => Expr::BinOp(Spanned::new(ast::BinOp { op, left, right }, it.span())),
            }
        }
        Expr::Compare(it) => {
            let ops = it.ops.iter().map(|op| ast::CompareOp { op: op.op, expr: looked_at(SEEN, &op.expr) }).collect();
            Expr::Compare(Spanned::new(ast::Compare { expr: looked_at(SEEN, &it.expr), ops }, it.span()))
        }
        Expr::IfExpr(it) => {
            let inner = ast::IfExpr {
                test_expr: expression(&it.test_expr),
                true_expr: expression(&it.true_expr),
                false_expr: it.false_expr.as_ref().map(expression),
            };
            Expr::IfExpr(Spanned::new(inner, it.span()))
        }
        Expr::Filter(it) => {
            let how = if SHALLOW.contains(&it.name) { HELD } else { SEEN };
            let (expr, args) = (it.expr.as_ref().map(|expr| looked_at(how, expr)), arguments(how, &it.args));
            kept(Expr::Filter(Spanned::new(ast::Filter { name: it.name, expr, args }, it.span())), it.span())
        }
        Expr::Test(it) => {
            let how = if COMPARES.contains(&it.name) { SEEN } else { HELD };
            let inner = ast::Test { name: it.name, expr: looked_at(how, &it.expr), args: arguments(how, &it.args) };
            Expr::Test(Spanned::new(inner, it.span()))
        }
        Expr::GetAttr(it) => {
            Expr::GetAttr(Spanned::new(ast::GetAttr { expr: expression(&it.expr), name: it.name }, it.span()))
        }
        Expr::GetItem(it) => {
            let inner =
                ast::GetItem { expr: looked_at(HELD, &it.expr), subscript_expr: expression(&it.subscript_expr) };
            Expr::GetItem(Spanned::new(inner, it.span()))
        }
        // Numbers that are made one by one as they are asked for.
        Expr::Call(it) if matches!(&it.expr, Expr::Var(name) if name.id == "range") => Expr::Call(call(it)),
        Expr::Call(it) => kept(Expr::Call(call(it)), it.span()),
        Expr::List(it) => {
            let inner = ast::List { items: it.items.iter().map(expression).collect() };
            kept(Expr::List(Spanned::new(inner, it.span())), it.span())
        }
        Expr::Map(it) => {
            let inner = ast::Map {
                keys: it.keys.iter().map(expression).collect(),
                values: it.values.iter().map(expression).collect(),
            };
            kept(Expr::Map(Spanned::new(inner, it.span())), it.span())
        }
    }
}
