//! Checked definition: every step, expression and role that it names exists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::schema::InputSchema;
use crate::engine::expression::Expr;
use crate::engine::transaction::effects::{Effect, EffectReferences};
use crate::types::{HookName, Role, Span, StepName, WorkflowName, secret_name};

/// A checked workflow.
#[derive(Debug)]
pub struct Definition {
    /// Its name.
    pub name: WorkflowName,
    /// One line, for people.
    pub title: Option<Arc<str>>,
    /// Longer text, for people.
    pub description: Option<Arc<str>>,
    /// Actors that may start it; never empty.
    pub start: Vec<AllowedActor>,
    /// Actors that may read its transactions, besides everyone who may ever submit one of its
    /// steps.
    pub readers: Vec<AllowedActor>,
    /// Keys of the data that only these actors may read.
    pub restricted: BTreeMap<Arc<str>, Vec<AllowedActor>>,
    /// Actors that may cancel it, besides operators.
    pub cancel: Vec<AllowedActor>,
    /// Time from the start to the latest end, unless the pivot has passed.
    pub deadline: Option<Span>,
    /// Expression; at most one open transaction may have each of its values.
    pub unique: Option<Expr>,
    /// Schema of the start request's input.
    pub input: Option<InputSchema>,
    /// Data at the start, in addition to the input.
    pub data: Template,
    /// Effect on a transaction when the session that started it ends.
    pub session_end: SessionEnd,
    /// First step.
    pub first: StepName,
    /// The steps, in the order of the document.
    pub steps: Vec<StepDefinition>,
    /// Joined branches: [`StepTarget::All`] names one by its index in this list.
    pub alls: Vec<ParallelBranches>,
    /// Index of each step in [`Definition::steps`].
    pub index: BTreeMap<StepName, usize>,
}

/// Effect on a transaction when its starting session ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionEnd {
    /// Nothing.
    #[default]
    Continue,
    /// The transaction is cancelled, before the pivot.
    Cancel,
}

/// A step.
#[derive(Debug)]
pub struct StepDefinition {
    /// Its name.
    pub name: StepName,
    /// One line, for people.
    pub title: Option<Arc<str>>,
    /// Longer text, for people.
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
    /// True if the transaction can only go forward once this step was taken.
    pub pivot: bool,
    /// Number of submissions by different users that it needs.
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

/// A request to another service, sent at least once.
#[derive(Debug)]
pub struct RequestTemplate {
    /// The method, in capitals.
    pub method: Arc<str>,
    /// URL.
    pub url: Template,
    /// The headers, names in lower case.
    pub headers: Vec<(Arc<str>, Template)>,
    /// The body; `None`: none.
    pub body: Option<Template>,
    /// Time that an attempt may take.
    pub timeout: Span,
    /// Maximum number of attempts.
    pub attempts: u32,
    /// Maximum wait after the first attempt.
    pub first: Span,
    /// Factor by which the wait grows after each further attempt.
    pub factor: u32,
    /// Maximum wait after any attempt.
    pub max: Span,
    /// Statuses that are a final refusal.
    pub refused: Vec<u16>,
    /// Time that the service has for its callback after a 202.
    pub callback: Option<Span>,
}

impl RequestTemplate {
    /// Default limit of an attempt.
    pub const TIMEOUT: Span = Span::from_seconds(10);
    /// Default number of attempts.
    pub const ATTEMPTS: u32 = 8;
    /// Default maximum wait after the first attempt.
    pub const FIRST: Span = Span::from_seconds(1);
    /// Default factor by which the waits grow.
    pub const FACTOR: u32 = 2;
    /// Default maximum wait after any attempt.
    pub const MAX: Span = Span::from_minutes(5);
    /// Number of attempts of a `send`: about a day on average, like an event to a webhook.
    pub const SEND_ATTEMPTS: u32 = 27;
    /// Maximum wait of a `send` after its first attempt.
    pub const SEND_FIRST: Span = Span::from_ms(500);
    /// Maximum wait of a `send` after any attempt.
    pub const SEND_MAX: Span = Span::from_hours(4);
    /// Default statuses of a final refusal.
    pub const REFUSED: [u16; 5] = [400, 404, 409, 410, 422];
}

/// End of a wait step.
#[derive(Debug)]
pub enum WaitCondition {
    /// Ends after a span: text, or an expression that returns one.
    For(Template),
    /// Ends at a time: text, or an expression that returns one.
    Until(Template),
}

/// Actor that a step or a transaction lets in.
#[derive(Debug)]
pub enum AllowedActor {
    /// The owner of the transaction.
    Owner,
    /// Everybody with a session, also an anonymous one; no API keys.
    Anyone,
    /// Every signed-in user; the default of `start`.
    User,
    /// Every actor with the role.
    Role(Role),
    /// The user whose name the expression returns when the step opens.
    Named(Expr),
    /// Every API key.
    ApiKey,
    /// Another service, by a signed message to this hook.
    Hook(HookName),
    /// A transaction of this workflow, by an effect.
    Workflow(WorkflowName),
}

/// Number of submissions by different users that a step needs.
#[derive(Debug)]
pub enum Quorum {
    /// A fixed number.
    Fixed(u32),
    /// The number that the expression returns when the step opens.
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
        /// Message, for people.
        message: Arc<str>,
    },
    /// A one-time code.
    Challenge {
        /// The name that the challenge was issued under.
        id: Arc<str>,
        /// Template of the code that the client entered.
        with: Template,
    },
}

/// A step's end by time.
#[derive(Debug)]
pub struct StepTimeout {
    /// Time after it opened: a span as text, or an expression that returns one.
    pub after: Template,
    /// Target.
    pub next: StepTarget,
}

/// Effects while a step is open.
#[derive(Debug)]
pub struct Reminder {
    /// Times after it opened, ascending.
    pub after: Vec<Span>,
    /// Effects.
    pub effects: Vec<Effect>,
}

/// Target of a transaction.
#[derive(Debug)]
pub enum StepTarget {
    /// This step.
    Step(StepName),
    /// All of these steps; the first one taken closes the others.
    Any(Vec<StepName>),
    /// All of these branches at once, by index in [`Definition::alls`].
    All(usize),
    /// The same step, which opens again.
    Stay,
    /// The end: the transaction is completed with this outcome.
    End(Arc<str>),
    /// Cancellation: the transaction is undone with this outcome.
    Cancel(Arc<str>),
    /// The first target whose condition holds; the last has none.
    When(Vec<(Option<Expr>, StepTarget)>),
}

/// Branches that are joined.
#[derive(Debug)]
pub struct ParallelBranches {
    /// The first step of each.
    pub branches: Vec<StepName>,
    /// Target when all branches have ended; `None`: the join was the last of an outer branch.
    pub next: Option<StepTarget>,
}

/// JSON with expressions in some places.
#[derive(Clone, Debug)]
pub enum Template {
    /// Fixed value.
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
    /// Returns a step by its name. Every name in a checked definition has one.
    #[must_use]
    pub fn step(&self, name: &StepName) -> Option<&StepDefinition> {
        self.index.get(name).and_then(|number| self.steps.get(*number))
    }

    /// Returns the branches around each step, the outermost first: the index of an `all`, and the
    /// index of its branch.
    #[must_use]
    pub fn around(&self) -> BTreeMap<&str, Vec<(usize, usize)>> {
        super::check::around(self)
    }

    /// Returns the accounts that effects name without an expression; they must exist when the
    /// effects are executed.
    #[must_use]
    pub fn literal_accounts(&self) -> BTreeSet<&str> {
        self.effect_references().accounts.into_iter().filter_map(literal_text).collect()
    }

    /// Returns the roles that it lets in.
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

    /// Returns the roles that its effects give and take.
    #[must_use]
    pub fn granted_roles(&self) -> BTreeSet<&Role> {
        self.effect_references().roles.into_iter().collect()
    }

    /// Returns the workflows that effects start and name without an expression.
    #[must_use]
    pub fn literal_workflows(&self) -> BTreeSet<&str> {
        self.effect_references().workflows.into_iter().filter_map(literal_text).collect()
    }

    /// Returns the hooks that may submit its steps.
    #[must_use]
    pub fn hooks(&self) -> BTreeSet<&HookName> {
        let submitters = self.steps.iter().flat_map(StepDefinition::submitters);
        submitters.filter_map(AllowedActor::hook).collect()
    }

    /// Returns the secrets that the headers of its requests name by `secret("NAME")`, as
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
