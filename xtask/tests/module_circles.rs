//! The modules of each crate use each other one way: none reaches itself through those that it uses, and neither does a
//! folder of modules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Item, ItemUse, Macro, UseTree,
    visit::{self, Visit},
};

/// A module by its path within the crate; the root's is empty.
type Name = Vec<String>;

/// Which modules each module uses.
type Graph = BTreeMap<Name, BTreeSet<Name>>;

/// What a module's text says of others: paths as they are written.
#[derive(Default)]
struct Text {
    uses: Vec<Vec<String>>,
    /// What it makes known under a name of its own, by that name.
    exports: BTreeMap<String, Vec<String>>,
    /// Modules that only tests have.
    tests: Vec<String>,
    /// How many modules of the text itself the visitor is in.
    within: usize,
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|it| {
        let syn::Meta::List(list) = &it.meta else { return false };
        list.path.is_ident("cfg") && list.tokens.to_string() == "test"
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Mod(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    }
}

/// The paths of a `use`, each with the name that it is known by.
fn paths(tree: &UseTree, before: &[String], all: &mut Vec<(Vec<String>, String)>) {
    let with = |name: &dyn ToString| [before, &[name.to_string()]].concat();
    match tree {
        UseTree::Path(it) => paths(&it.tree, &with(&it.ident), all),
        UseTree::Name(it) => all.push((with(&it.ident), it.ident.to_string())),
        UseTree::Rename(it) => all.push((with(&it.ident), it.rename.to_string())),
        UseTree::Glob(_) => all.push((before.to_vec(), "*".to_owned())),
        UseTree::Group(it) => it.items.iter().for_each(|tree| paths(tree, before, all)),
    }
}

impl<'a> Visit<'a> for Text {
    fn visit_item(&mut self, item: &'a Item) {
        match item {
            Item::Mod(it) if is_test(&it.attrs) => self.tests.push(it.ident.to_string()),
            item if is_test(attributes(item)) => (),
            Item::Mod(it) => {
                self.within += 1;
                visit::visit_item_mod(self, it);
                self.within -= 1;
            }
            item => visit::visit_item(self, item),
        }
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        let mut all = Vec::new();
        paths(&item.tree, &[], &mut all);
        match item.vis {
            // What a module of the text itself has is no other's.
            _ if self.within > 0 => self.uses.extend(all.into_iter().map(|(path, _)| path)),
            syn::Visibility::Inherited => self.uses.extend(all.into_iter().map(|(path, _)| path)),
            // Passing on is not using.
            _ => self.exports.extend(all.into_iter().map(|(path, name)| (name, path))),
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            self.uses.push(path.segments.iter().map(|it| it.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, it: &'a Macro) {
        self.uses.extend(paths_in(it.tokens.clone()));
    }
}

/// Paths of several names in the arguments of a macro.
fn paths_in(tokens: TokenStream) -> Vec<Vec<String>> {
    let (mut all, mut path, mut colons) = (Vec::new(), Vec::<String>::new(), 0);
    for token in tokens {
        match token {
            TokenTree::Ident(name) => {
                if colons != 2 {
                    all.push(std::mem::take(&mut path));
                }
                path.push(name.to_string());
                colons = 0;
            }
            TokenTree::Punct(it) if it.as_char() == ':' => colons += 1,
            other => {
                all.push(std::mem::take(&mut path));
                colons = 0;
                if let TokenTree::Group(group) = other {
                    all.extend(paths_in(group.stream()));
                }
            }
        }
    }
    all.push(path);
    all.retain(|path| path.len() > 1);
    all
}

struct Crate(BTreeMap<Name, Text>);

impl Crate {
    fn read(sources: &BTreeMap<Name, String>) -> Self {
        let mut texts = BTreeMap::new();
        for (name, source) in sources {
            let file = syn::parse_file(source).unwrap_or_else(|error| panic!("{}: {error}", name.join("::")));
            let mut text = Text::default();
            text.visit_file(&file);
            texts.insert(name.clone(), text);
        }
        let tests: Vec<Name> = texts
            .iter()
            .flat_map(|(name, text)| {
                text.tests.iter().map(|test| [name.as_slice(), std::slice::from_ref(test)].concat())
            })
            .collect();
        texts.retain(|name, _| !tests.iter().any(|test| name.starts_with(test)));
        Self(texts)
    }

    /// The same path from the crate's root; `None` if it is of another crate.
    fn absolute(&self, path: &[String], module: &Name) -> Option<Name> {
        let ups = path.iter().take_while(|it| *it == "super").count();
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([module, &path[1..]].concat()),
            "super" => Some([&module[..module.len().checked_sub(ups)?], &path[ups..]].concat()),
            first => {
                let child = [module.as_slice(), &[first.to_owned()]].concat();
                self.0.contains_key(&child).then(|| [module, path].concat())
            }
        }
    }

    /// The module that has what a path from the root names, however often it is passed on.
    fn owner(&self, path: &[String], depth: usize) -> Option<Name> {
        let length = (0..=path.len()).rev().find(|&length| self.0.contains_key(&path[..length]))?;
        let module = path[..length].to_vec();
        let passed_on = path.get(length).and_then(|name| self.0[&module].exports.get(name));
        let target = passed_on.and_then(|target| self.absolute(target, &module));
        match target {
            Some(target) if depth < 8 => self.owner(&[&target, &path[length + 1..]].concat(), depth + 1),
            _ => Some(module),
        }
    }

    fn graph(&self) -> Graph {
        let edges = |(name, text): (&Name, &Text)| {
            let used = text.uses.iter().filter_map(|path| self.owner(&self.absolute(path, name)?, 0));
            (name.clone(), used.filter(|it| it != name).collect())
        };
        self.0.iter().map(edges).collect()
    }
}

/// The same between folders: modules of the root's, and what lies in them.
fn of_folders(graph: &Graph) -> Graph {
    let mut folders = Graph::new();
    for (name, used) in graph.iter().filter(|(name, _)| !name.is_empty()) {
        let others = used.iter().filter(|it| !it.is_empty() && it[0] != name[0]).map(|it| vec![it[0].clone()]);
        folders.entry(vec![name[0].clone()]).or_default().extend(others);
    }
    folders
}

/// The shortest way from a module to itself, of the first that has one.
fn circle(graph: &Graph) -> Option<String> {
    graph.keys().find_map(|start| {
        let (mut ways, mut seen) = (vec![vec![start]], BTreeSet::new());
        while !ways.is_empty() {
            let mut longer = Vec::new();
            for way in ways {
                for next in graph.get(*way.last()?).into_iter().flatten() {
                    let way = [way.as_slice(), &[next]].concat();
                    if next == start {
                        let names =
                            way.iter().map(|it| if it.is_empty() { "the root".to_owned() } else { it.join("::") });
                        return Some(names.collect::<Vec<_>>().join(" -> "));
                    }
                    if seen.insert(next) {
                        longer.push(way);
                    }
                }
            }
            ways = longer;
        }
        None
    })
}

fn sources(folder: &Path, name: &Name, all: &mut BTreeMap<Name, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let inner = if ["lib", "main", "mod"].contains(&stem.as_str()) {
            name.clone()
        } else {
            [name.as_slice(), &[stem]].concat()
        };
        if path.is_dir() {
            sources(&path, &inner, all);
        } else if path.extension().is_some_and(|it| it == "rs") {
            all.insert(inner, fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn no_module_reaches_itself() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for krate in ["shaders", "engine", "models", "native", "web", "web/bundle", "xtask"] {
        let mut all = BTreeMap::new();
        sources(&root.join(krate).join("src"), &Vec::new(), &mut all);
        let graph = Crate::read(&all).graph();
        for (what, graph) in [("modules", &graph), ("folders", &of_folders(&graph))] {
            if let Some(circle) = circle(graph) {
                panic!("{what} of {krate}: {circle}");
            }
        }
    }
}

fn circle_of(texts: &[(&str, &str)]) -> Option<String> {
    let name = |name: &str| name.split("::").filter(|it| !it.is_empty()).map(str::to_owned).collect();
    let all = texts.iter().map(|(module, text)| (name(module), (*text).to_owned())).collect();
    let graph = Crate::read(&all).graph();
    circle(&graph).or_else(|| circle(&of_folders(&graph)))
}

#[test]
fn circles_are_found() {
    let root = ("", "mod a; mod b; pub use a::A; pub use b::{B, c::C as D};");
    let a = "pub struct A;";
    assert_eq!(circle_of(&[root, ("a", a), ("b", "use crate::A; struct B(A);")]), None);
    let found = Some("a -> b -> a".to_owned());
    // By a re-export, a path in a type, one in a macro's arguments, a glob.
    for uses in ["use crate::B;", "fn f(_: crate::b::B) {}", "fn f() { g!(x, [super::b::B]) }", "use super::b::*;"] {
        let a = format!("{uses} pub struct A;");
        assert_eq!(circle_of(&[root, ("a", &a), ("b", "use super::{A as X}; pub struct B;")]), found, "{uses}");
    }
    let a = "mod prelude { pub(super) use crate::b::B; } use prelude::*; pub struct A;";
    assert_eq!(circle_of(&[root, ("a", a), ("b", "use super::A; pub struct B;")]), found);
    // Tests may use what they like.
    let a = "pub struct A; #[cfg(test)] mod tests { use crate::B; }";
    assert_eq!(circle_of(&[root, ("a", a), ("b", "use crate::A;")]), None);
    // A folder's modules, none of which reaches itself.
    let texts =
        [root, ("a", "use crate::b::B; pub struct A;"), ("b", "mod c; pub struct B;"), ("b::c", "use crate::A;")];
    assert_eq!(circle_of(&texts), found);
    // A parent and what it uses of its child.
    let parent = ("b", "mod c; use c::C; pub struct B;");
    assert_eq!(
        circle_of(&[root, ("a", "pub struct A;"), parent, ("b::c", "use super::B; pub struct C;")]).as_deref(),
        Some("b -> b::c -> b")
    );
}
