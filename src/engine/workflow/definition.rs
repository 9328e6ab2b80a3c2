//! A definition that was checked: nothing in it names a step, an expression or a role that is not
//! there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::schema::InputSchema;
use crate::engine::expression::Expr;
use crate::engine::transaction::effects::{Effect, EffectReferences};
use crate::types::{HookName, Role, Span, StepName, WorkflowName, secret_name};

/// A workflow, checked.
#[derive(Debug)]
pub struct Definition {
    /// Its name.
    pub name: WorkflowName,
    /// One line for people.
    pub title: Option<Arc<str>>,
    /// More for people.
    pub description: Option<Arc<str>>,
    /// Actors that may start it; never empty.
    pub start: Vec<AllowedActor>,
    /// Actors that may read it, besides all that may ever submit one of its steps.
    pub readers: Vec<AllowedActor>,
    /// Keys of the data that only these may read.
    pub restricted: BTreeMap<Arc<str>, Vec<AllowedActor>>,
    /// Actors that may cancel it, besides operators.
    pub cancel: Vec<AllowedActor>,
    /// From the start to its end, as long as the pivot has not passed.
    pub deadline: Option<Span>,
    /// At most one open transaction with what this makes.
    pub unique: Option<Expr>,
    /// The input of the start request.
    pub input: Option<InputSchema>,
    /// The data at the start, beside the input.
    pub data: Template,
    /// Effect of the end of the session that started it.
    pub session_end: SessionEnd,
    /// First step.
    pub first: StepName,
    /// The steps, in the order of the document.
    pub steps: Vec<StepDefinition>,
    /// The joined branches: [`StepTarget::ParallelBranches`] names one by its place in this list.
    pub alls: Vec<ParallelBranches>,
    /// The number of each step in [`Definition::steps`].
    pub index: BTreeMap<StepName, usize>,
}

/// Effect of the end of the starting session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionEnd {
    /// Nothing.
    #[default]
    Continue,
    /// It is cancelled, before the pivot.
    Cancel,
}

/// A step.
#[derive(Debug)]
pub struct StepDefinition {
    /// Its name.
    pub name: StepName,
    /// One line for people.
    pub title: Option<Arc<str>>,
    /// More for people.
    pub description: Option<Arc<str>>,
    /// Kind, by what it waits for.
    pub kind: StepKind,
    /// Conditions for it to be taken.
    pub guard: Vec<StepGuard>,
    /// Effects, in order.
    pub effects: Vec<Effect>,
    /// Next target; `None`: it is the last step of its branch.
    pub next: Option<StepTarget>,
    /// Target after a time.
    pub timeout: Option<StepTimeout>,
    /// Effects at times while it is open.
    pub remind: Vec<Reminder>,
    /// True if the transaction can only go forward once it was taken.
    pub pivot: bool,
    /// Number of submissions by different users it takes.
    pub quorum: Option<Quorum>,
    /// Time that a claim of it lasts; `None`: it cannot be claimed.
    pub claim: Option<Span>,
    /// Number of times that it may be submitted in one transaction.
    pub max_submissions: Option<u32>,
    /// Target of an automatic step when one of its guards or effects is refused.
    pub refused: Option<StepTarget>,
    /// Target when the last attempt at a code was wrong.
    pub exhausted: Option<StepTarget>,
    /// Requests to other services that undo it, in order.
    pub compensate: Vec<RequestTemplate>,
    /// Target of a call step when its call was refused, or its attempts are used up.
    pub failed: Option<StepTarget>,
}

/// Kind of a step, by what it waits for.
#[derive(Debug)]
pub enum StepKind {
    /// A client.
    Client {
        /// Actors that may submit it; never empty.
        by: Vec<AllowedActor>,
        /// Schema of their input.
        input: Option<InputSchema>,
    },
    /// A time.
    Wait(WaitCondition),
    /// Another service.
    Call(RequestTemplate),
    /// Nothing.
    Automatic,
}

/// A request to another service, made at least once.
#[derive(Debug)]
pub struct RequestTemplate {
    /// The method, in capitals.
    pub method: Arc<str>,
    /// Where to.
    pub url: Template,
    /// The headers, names in lower case.
    pub headers: Vec<(Arc<str>, Template)>,
    /// The body; `None`: none.
    pub body: Option<Template>,
    /// Time that an attempt may take.
    pub timeout: Span,
    /// Most attempts.
    pub attempts: u32,
    /// The longest wait after the first attempt.
    pub first: Span,
    /// Factor by which the wait grows after each further attempt.
    pub factor: u32,
    /// The longest wait after any.
    pub max: Span,
    /// The statuses that are a definite no.
    pub refused: Vec<u16>,
    /// Time that the service may take to answer at the callback, once it has said 202.
    pub callback: Option<Span>,
}

impl RequestTemplate {
    /// Default limit of an attempt.
    pub const TIMEOUT: Span = Span::from_seconds(10);
    /// Default number of attempts.
    pub const ATTEMPTS: u32 = 8;
    /// Default of the longest wait after the first attempt.
    pub const FIRST: Span = Span::from_seconds(1);
    /// Default factor by which the waits grow.
    pub const FACTOR: u32 = 2;
    /// Default of the longest wait.
    pub const MAX: Span = Span::from_minutes(5);
    /// Number of attempts of a `send`: about a day in the mean, like an event to a webhook.
    pub const SEND_ATTEMPTS: u32 = 27;
    /// The longest wait of a `send` after its first attempt.
    pub const SEND_FIRST: Span = Span::from_ms(500);
    /// The longest wait of a `send`.
    pub const SEND_MAX: Span = Span::from_hours(4);
    /// Default of the definite refusals.
    pub const REFUSED: [u16; 5] = [400, 404, 409, 410, 422];
}

/// End of a wait step.
#[derive(Debug)]
pub enum WaitCondition {
    /// This long: a span as text, or what makes one.
    For(Template),
    /// Until then: a time as text, or what makes one.
    Until(Template),
}

/// Actor that a step or a transaction lets in.
#[derive(Debug)]
pub enum AllowedActor {
    /// The owner.
    Owner,
    /// Anybody with a session, an anonymous one too; no API keys.
    Anyone,
    /// Any user who is signed in (the default of `start`).
    User,
    /// Every actor with the role.
    Role(Role),
    /// The user with the name that this makes when the step opens.
    Named(Expr),
    /// Any API key.
    ApiKey,
    /// Another service, by a signed message to this hook.
    Hook(HookName),
    /// A transaction of this workflow, by an effect.
    Workflow(WorkflowName),
}

/// Number of submissions by different users a step takes.
#[derive(Debug)]
pub enum Quorum {
    /// A fixed number.
    Fixed(u32),
    /// As many as this makes when the step opens.
    Expr(Expr),
}

/// Condition of a step.
#[derive(Debug)]
pub enum StepGuard {
    /// An expression.
    That {
        /// Expression.
        that: Expr,
        /// The refusal's code.
        code: Arc<str>,
        /// For people.
        message: Arc<str>,
    },
    /// A one-time code.
    Challenge {
        /// The name that the challenge was issued under.
        id: Arc<str>,
        /// Template that makes the code that was given.
        with: Template,
    },
}

/// A step's end by time.
#[derive(Debug)]
pub struct StepTimeout {
    /// Time after it opened: a span as text, or what makes one.
    pub after: Template,
    /// Where to.
    pub next: StepTarget,
}

/// Effects while a step is open.
#[derive(Debug)]
pub struct Reminder {
    /// Time after it opened, in rising order.
    pub after: Vec<Span>,
    /// Effects.
    pub effects: Vec<Effect>,
}

/// Target of a transaction.
#[derive(Debug)]
pub enum StepTarget {
    /// To this step.
    Step(StepName),
    /// To whichever of these is taken first.
    Any(Vec<StepName>),
    /// To all of these at once: [`Definition::alls`] has them.
    All(usize),
    /// Nowhere: the step opens again.
    Stay,
    /// It is completed, with this outcome.
    End(Arc<str>),
    /// It is undone, with this outcome.
    Cancel(Arc<str>),
    /// To the first whose condition holds; the last has none.
    When(Vec<(Option<Expr>, StepTarget)>),
}

/// Branches that are joined.
#[derive(Debug)]
pub struct ParallelBranches {
    /// The first step of each.
    pub branches: Vec<StepName>,
    /// Target when all have ended; `None`: this was the last of an outer branch.
    pub next: Option<StepTarget>,
}

/// JSON in which some places are made by expressions.
#[derive(Clone, Debug)]
pub enum Template {
    /// As it is.
    Literal(Value),
    /// Result of an expression.
    Expr(Expr),
    /// An object.
    Object(Vec<(Arc<str>, Template)>),
    /// A list.
    List(Vec<Template>),
}

impl StepDefinition {
    /// Returns the actors that may submit it; none where it waits for no client.
    #[must_use]
    pub fn submitters(&self) -> &[AllowedActor] {
        match &self.kind {
            StepKind::Client { by, .. } => by,
            StepKind::Wait(_) | StepKind::Call(_) | StepKind::Automatic => &[],
        }
    }
}

impl AllowedActor {
    /// Returns the role that it lets in.
    #[must_use]
    pub const fn role(&self) -> Option<&Role> {
        match self {
            Self::Role(role) => Some(role),
            Self::Owner
            | Self::Anyone
            | Self::User
            | Self::Named(_)
            | Self::ApiKey
            | Self::Hook(_)
            | Self::Workflow(_) => None,
        }
    }

    /// Returns the hook that it lets in.
    #[must_use]
    pub const fn hook(&self) -> Option<&HookName> {
        match self {
            Self::Hook(hook) => Some(hook),
            Self::Owner
            | Self::Anyone
            | Self::User
            | Self::Role(_)
            | Self::Named(_)
            | Self::ApiKey
            | Self::Workflow(_) => None,
        }
    }
}

impl Definition {
    /// A step by its name. Every name in a checked definition has one.
    #[must_use]
    pub fn step(&self, name: &StepName) -> Option<&StepDefinition> {
        self.index.get(name).and_then(|number| self.steps.get(*number))
    }

    /// The branches around each step, from the outside: the number of an `all`, and which of its
    /// branches.
    #[must_use]
    pub fn around(&self) -> BTreeMap<&str, Vec<(usize, usize)>> {
        super::check::around(self)
    }

    /// Accounts that effects name without an expression, and that must exist when they run.
    #[must_use]
    pub fn literal_accounts(&self) -> BTreeSet<&str> {
        self.effect_references().accounts.into_iter().filter_map(literal_text).collect()
    }

    /// The roles that it lets in.
    #[must_use]
    pub fn roles(&self) -> BTreeSet<&Role> {
        [&self.start, &self.readers, &self.cancel]
            .into_iter()
            .chain(self.restricted.values())
            .flatten()
            .chain(self.steps.iter().flat_map(StepDefinition::submitters))
            .filter_map(AllowedActor::role)
            .collect()
    }

    /// Roles that its effects give and take.
    #[must_use]
    pub fn granted_roles(&self) -> BTreeSet<&Role> {
        self.effect_references().roles.into_iter().collect()
    }

    /// Workflows that effects start and that are named without an expression.
    #[must_use]
    pub fn literal_workflows(&self) -> BTreeSet<&str> {
        self.effect_references().workflows.into_iter().filter_map(literal_text).collect()
    }

    /// The hooks that may submit its steps.
    #[must_use]
    pub fn hooks(&self) -> BTreeSet<&HookName> {
        let submitters = self.steps.iter().flat_map(StepDefinition::submitters);
        submitters.filter_map(AllowedActor::hook).collect()
    }

    /// The secrets that the headers of its requests name by `secret("NAME")`, as
    /// [`secret_name`] writes them.
    #[must_use]
    pub fn secrets(&self) -> BTreeSet<String> {
        let mut requests: Vec<&RequestTemplate> = Vec::new();
        for step in &self.steps {
            if let StepKind::Call(call) = &step.kind {
                requests.push(call);
            }
            requests.extend(&step.compensate);
        }
        requests.extend(self.effect_references().requests);
        let headers = requests.iter().flat_map(|request| &request.headers);
        let named = headers.flat_map(|(_, made)| match made {
            Template::Expr(expr) => expr.secrets(),
            _ => Vec::new(),
        });
        named.map(|name| secret_name(&name)).collect()
    }

    fn effect_references(&self) -> EffectReferences<'_> {
        let mut found = EffectReferences::default();
        for step in &self.steps {
            let reminders = step.remind.iter().flat_map(|reminder| &reminder.effects);
            reminders.chain(&step.effects).for_each(|effect| effect.kind.references(&mut found));
        }
        found
    }
}

fn literal_text(template: &Template) -> Option<&str> {
    match template {
        Template::Literal(Value::String(text)) => Some(text),
        Template::Literal(_) | Template::Expr(_) | Template::Object(_) | Template::List(_) => None,
    }
}
