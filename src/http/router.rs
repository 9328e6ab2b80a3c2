//! From a path to its routes, at a cost that does not grow with their number: one map look-up for
//! each segment. A literal segment is preferred to a parameter.

use std::collections::HashMap;

use super::input::segment_decoded;
use super::problem::{Code, Problem};
use super::route::{Route, Verb};

/// Most parameters in a pattern.
pub(super) const PARAMETERS_MAX: usize = 2;

/// The routes by their paths.
#[derive(Debug)]
pub(super) struct Router {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<&'static str, usize>,
    parameter: Option<usize>,
    routes: [Option<&'static Route>; Verb::ALL.len()],
}

/// The routes of one path and the parameters in it.
#[derive(Debug)]
pub(super) struct Found<'t> {
    node: &'t Node,
    /// The values of the pattern's parameters, decoded, in their order.
    pub(super) parameters: Parameters,
}

/// The values of a pattern's parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters([Option<String>; PARAMETERS_MAX]);

impl Parameters {
    /// Returns the parameter at this position, from zero; empty when the pattern has fewer.
    #[must_use]
    pub fn at(&self, index: usize) -> &str {
        self.0.get(index).and_then(Option::as_deref).unwrap_or_default()
    }
}

impl Router {
    /// Returns a router of these routes. Of two with the same method and path the later one counts;
    /// a test of the table excludes that.
    #[must_use]
    pub(super) fn new(routes: impl Iterator<Item = &'static Route>) -> Self {
        let mut tree = Self { nodes: vec![Node::default()] };
        for route in routes {
            let mut at = 0;
            for segment in route.pattern.split('/').skip(1) {
                at = tree.child(at, segment);
            }
            tree.nodes[at].routes[route.method as usize] = Some(route);
        }
        tree
    }

    fn child(&mut self, at: usize, segment: &'static str) -> usize {
        let next = self.nodes.len();
        let node = &mut self.nodes[at];
        let child = if segment.starts_with('{') {
            *node.parameter.get_or_insert(next)
        } else {
            *node.literals.entry(segment).or_insert(next)
        };
        if child == next {
            self.nodes.push(Node::default());
        }
        child
    }

    /// Finds the routes of a raw path; `None`: there is none.
    ///
    /// # Errors
    /// [`Code::BadRequest`] for a parameter whose escapes are no UTF-8.
    pub(super) fn find(&self, path: &str) -> Result<Option<Found<'_>>, Problem> {
        let mut node = &self.nodes[0];
        let mut parameters = Parameters::default();
        let mut count = 0;
        for segment in path.split('/').skip(1) {
            if let Some(child) = node.literals.get(segment) {
                node = &self.nodes[*child];
                continue;
            }
            let Some(child) = node.parameter.filter(|_| !segment.is_empty()) else {
                return Ok(None);
            };
            let Some(place) = parameters.0.get_mut(count) else { return Ok(None) };
            let value = segment_decoded(segment).ok_or_else(|| {
                Problem::new(Code::BadRequest, "the path has escapes that are no UTF-8")
            })?;
            *place = Some(value);
            count += 1;
            node = &self.nodes[child];
        }
        let known = node.routes.iter().any(Option::is_some);
        Ok(known.then_some(Found { node, parameters }))
    }
}

impl Found<'_> {
    /// The route with this method.
    #[must_use]
    pub(super) fn route(&self, verb: Verb) -> Option<&'static Route> {
        self.node.routes[verb as usize]
    }

    /// Returns the value of an `Allow` header.
    #[must_use]
    pub(super) fn allow(&self) -> String {
        let mut methods = vec!["OPTIONS"];
        for route in self.node.routes.iter().flatten() {
            if route.method == Verb::Get {
                methods.push("HEAD");
            }
            methods.push(route.method.as_str());
        }
        methods.join(", ")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panic")]

    use super::{Route, Router, Verb};
    use crate::http::operation::Operation;
    use crate::http::route::{Access, Handler};

    const OPERATION: Operation = Operation::new("", "", "");

    const fn route(method: Verb, pattern: &'static str) -> Route {
        Route {
            method,
            pattern,
            label: pattern,
            access: Access::Anyone,
            handler: Handler::Sync(|_| Err(crate::http::problem::Code::NotFound.into())),
            operation: &OPERATION,
        }
    }

    static ROUTES: [Route; 5] = [
        route(Verb::Get, "/"),
        route(Verb::Get, "/a"),
        route(Verb::Put, "/a/{id}"),
        route(Verb::Get, "/a/current"),
        route(Verb::Delete, "/a/{id}/b/{other}"),
    ];

    fn pattern(path: &str, verb: Verb) -> Option<&'static str> {
        let router = Router::new(ROUTES.iter());
        let found = router.find(path).unwrap()?;
        found.route(verb).map(|route| route.pattern)
    }

    #[test]
    fn a_path_finds_its_route_and_nothing_else() {
        assert_eq!(pattern("/", Verb::Get), Some("/"));
        assert_eq!(pattern("/a", Verb::Get), Some("/a"));
        assert_eq!(pattern("/a/current", Verb::Get), Some("/a/current"));
        assert_eq!(pattern("/a/x", Verb::Put), Some("/a/{id}"));
        assert_eq!(pattern("/a/x/b/y", Verb::Delete), Some("/a/{id}/b/{other}"));
        for path in ["", "*", "/b", "/a/", "//a", "/a/x/b", "/a/x/b/", "/a/x/b/y/z", "/A"] {
            assert!(path.is_empty() || path == "*" || pattern(path, Verb::Get).is_none(), "{path}");
        }
    }

    #[test]
    fn parameters_are_decoded_after_the_path_is_split() {
        let router = Router::new(ROUTES.iter());
        let found = router.find("/a/x%2Fy%20+/b/%C3%A9").unwrap().unwrap();
        assert_eq!((found.parameters.at(0), found.parameters.at(1)), ("x/y +", "é"));
        assert_eq!(found.parameters.at(2), "");
        assert!(router.find("/a/%ff").is_err());
        assert!(router.find("/a/%2").is_err());
    }

    #[test]
    fn the_methods_of_a_path_are_listed() {
        let router = Router::new(ROUTES.iter());
        assert_eq!(router.find("/a").unwrap().unwrap().allow(), "OPTIONS, HEAD, GET");
        assert_eq!(router.find("/a/x").unwrap().unwrap().allow(), "OPTIONS, PUT");
    }
}
