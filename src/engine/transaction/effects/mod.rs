//! Effects of the workflow language. Each has one file with its keys, reader, schema, checks,
//! execution, compensation and documentation; [`effects!`] lists them. The reader of documents,
//! the JSON Schema of the language, the table of `LANGUAGE.md` and the interpreter are built from
//! that list.
//!
//! A new effect takes its file and its two lines here; `BLESS=1 cargo test --test definitions`
//! writes its row of `LANGUAGE.md` and its part of the schema that the tests hold.

mod capture;
mod challenge;
mod compensation;
mod each;
mod emit;
mod grant;
mod hold;
mod merge;
mod open;
mod revoke;
mod roles;
mod send;
mod session;
mod set;
mod start;
mod submit;
mod syntax;
mod transfer;
mod values;
mod void;

use super::eval_context::Bindings;
use super::interpreter::{EFFECT_STEPS, Interpreter};
use super::record::Compensation;
use crate::engine::core::unit_of_work::DecideError;
use crate::engine::expression::Expr;
use crate::engine::workflow::document::{DefinitionReader, EffectNode};
use crate::engine::workflow::{RequestTemplate, StepTarget, Template};
use crate::types::Role;

pub(super) use compensation::weight;
pub(in crate::engine) use syntax::EffectSyntax;

/// One effect of the language.
pub(super) trait WorkflowEffect: Sized {
    /// Name, keys and documentation.
    const SYNTAX: EffectSyntax;

    /// Reads the effect from a document; `None` where faults were reported.
    fn read(reader: &mut DefinitionReader, node: &EffectNode<'_, '_>) -> Option<Self>;

    /// Adds the names that the effect uses.
    fn references<'e>(&'e self, _found: &mut EffectReferences<'e>) {}

    /// Returns the change of the holds and challenges that later steps may use.
    fn flow_change(&self) -> FlowChange<'_> {
        FlowChange::None
    }

    /// Returns the effects inside it.
    fn nested(&self) -> &[Effect] {
        &[]
    }

    /// Executes the effect and adds its compensations.
    fn execute(
        &self,
        interpreter: &mut Interpreter<'_, '_>,
        bindings: &Bindings,
        compensations: &mut Vec<Compensation>,
    ) -> Result<(), DecideError>;
}

/// One effect of a step.
#[derive(Debug)]
pub struct Effect {
    /// Condition; `None`: the effect always runs.
    pub when: Option<Expr>,
    /// Kind of the effect, with its values.
    pub kind: EffectKind,
}

/// Names that effects use.
#[derive(Debug, Default)]
pub(in crate::engine) struct EffectReferences<'e> {
    /// Accounts that must exist.
    pub(in crate::engine) accounts: Vec<&'e Template>,
    /// Roles that are given or taken.
    pub(in crate::engine) roles: Vec<&'e Role>,
    /// Workflows that are started.
    pub(in crate::engine) workflows: Vec<&'e Template>,
    /// Requests that are sent.
    pub(in crate::engine) requests: Vec<&'e RequestTemplate>,
}

/// Change that an effect makes to the holds and challenges that later steps may use.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum FlowChange<'e> {
    /// None.
    None,
    /// A hold is placed.
    PlacesHold {
        /// Name of the hold.
        hold: &'e str,
        /// Target when it expires.
        on_expiry: Option<&'e StepTarget>,
    },
    /// A hold is used.
    UsesHold {
        /// Name of the hold.
        hold: &'e str,
        /// True if nothing of it is left.
        closes: bool,
    },
    /// A one-time code is issued.
    IssuesChallenge {
        /// Name of the challenge.
        challenge: &'e str,
    },
}

/// Entry of the table of effects.
pub(in crate::engine) struct EffectEntry {
    /// Name, keys and documentation.
    pub(in crate::engine) syntax: EffectSyntax,
    /// Reads the effect from a document.
    pub(in crate::engine) read:
        fn(&mut DefinitionReader, &EffectNode<'_, '_>) -> Option<EffectKind>,
}

macro_rules! effects {
    ($($module:ident::$type:ident => $kind:ident,)*) => {
        /// Kind of an effect, with its values.
        #[derive(Debug)]
        #[allow(missing_docs, reason = "each type documents itself")]
        pub enum EffectKind {
            $($kind($module::$type),)*
        }

        /// All effects, in the order of the documentation.
        pub(in crate::engine) const EFFECTS: &[EffectEntry] = &[$(EffectEntry {
            syntax: <$module::$type>::SYNTAX,
            read: |reader, node| <$module::$type>::read(reader, node).map(EffectKind::$kind),
        }),*];

        impl EffectKind {
            /// Name of the effect in documents.
            pub(in crate::engine) const fn name(&self) -> &'static str {
                match self {
                    $(Self::$kind(_) => <$module::$type>::SYNTAX.name,)*
                }
            }

            /// Adds the names that the effect uses.
            pub(in crate::engine) fn references<'e>(&'e self, found: &mut EffectReferences<'e>) {
                match self {
                    $(Self::$kind(effect) => effect.references(found),)*
                }
            }

            /// Returns the change of the holds and challenges that later steps may use.
            pub(in crate::engine) fn flow_change(&self) -> FlowChange<'_> {
                match self {
                    $(Self::$kind(effect) => effect.flow_change(),)*
                }
            }

            /// Returns the effects inside it.
            pub(in crate::engine) fn nested(&self) -> &[Effect] {
                match self {
                    $(Self::$kind(effect) => effect.nested(),)*
                }
            }

            fn execute(
                &self,
                interpreter: &mut Interpreter<'_, '_>,
                bindings: &Bindings,
                compensations: &mut Vec<Compensation>,
            ) -> Result<(), DecideError> {
                match self {
                    $(Self::$kind(effect) => effect.execute(interpreter, bindings, compensations),)*
                }
            }
        }
    };
}

effects! {
    set::SetEffect => Set,
    merge::MergeEffect => Merge,
    hold::HoldEffect => Hold,
    capture::CaptureEffect => Capture,
    void::VoidEffect => Void,
    transfer::TransferEffect => Transfer,
    challenge::ChallengeEffect => Challenge,
    session::SessionEffect => Session,
    emit::EmitEffect => Emit,
    send::SendEffect => Send,
    open::OpenEffect => Open,
    grant::GrantEffect => Grant,
    revoke::RevokeEffect => Revoke,
    start::StartEffect => Start,
    submit::SubmitEffect => Submit,
    each::EachEffect => Each,
}

/// Returns the rows of the table of effects in `LANGUAGE.md`.
#[must_use]
pub fn effects_documentation() -> String {
    let rows: Vec<_> = EFFECTS.iter().map(|effect| effect.syntax.documentation()).collect();
    rows.join("\n")
}

impl Interpreter<'_, '_> {
    /// Executes effects in order; each sees those before it.
    pub(super) fn run_effects(
        &mut self,
        effects: &[Effect],
        bindings: &Bindings,
        compensations: &mut Vec<Compensation>,
    ) -> Result<(), DecideError> {
        for effect in effects {
            self.spend(EFFECT_STEPS)?;
            if let Some(when) = &effect.when
                && !self.look(bindings, |context| context.holds(when))?
            {
                continue;
            }
            effect.kind.execute(self, bindings, compensations)?;
        }
        Ok(())
    }
}
