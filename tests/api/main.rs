//! Black-box tests: the real binary, driven over sockets by roles (`alice`, `mallory`, `admin`,
//! `gateway`), against what the documentation promises. Ids such as 7.4.1 are requirements of
//! OWASP ASVS 5.0; `API n` is the OWASP API Security Top 10 of 2023.
//!
//! Time is moved with `POST /v1/dev/clock`; nothing here sleeps.
//!
//! Seen to fail, each promise broken on purpose (`front` names tests of the front door):
//!
//! | broken | red |
//! |---|---|
//! | a rotated token goes on | `rotation_replaces_...`, `racing_rotations_...`, `rotation_by_cookie_...` |
//! | elevation without the password | `elevation_needs_...`, `guessing_in_a_stolen_session_...` |
//! | an elevation never runs out | `an_elevation_runs_out` |
//! | no idle time-out; no absolute one | `an_idle_session_ends` and 5 more; `activity_does_not_extend_...` |
//! | no cap on a user's sessions | `the_session_beyond_the_cap_...`, `racing_logins_...` |
//! | an answer before its sync | `a_logout_survives_kill_9_...`, 5 more |
//! | no hash for an unknown user; its own code | `a_login_for_an_unknown_user_costs_...`; `a_refused_login_...` |
//! | a disabled user logs in | `a_refused_login_...`, `disabling_a_user_...` |
//! | no back-off of the account; of the address | `failed_logins_make_the_account_...`; `failures_over_many_...` |
//! | codes that fail count for nothing but their transaction | library `codes_that_fail_...`, `codes_of_anonymous_...` |
//! | wrong logins count in an open session; never forgotten one by one | library `wrong_logins_do_not_...`; `failures_from_an_address_...` |
//! | failures forgotten at a restart | `failed_logins_..._also_over_a_restart` |
//! | a new password leaves other sessions | `a_new_password_needs_...` |
//! | a reset link works twice | `a_password_reset_link_...`, `a_link_is_used_once_...` |
//! | disabling leaves sessions | `disabling_a_user_...`, `a_login_that_races_the_disabling_...` |
//! | roles as they were at login | `a_role_taken_away_...` |
//! | the last administrator may go | `the_last_administrator_stays_one` |
//! | others' sessions ended; their existence is revealed | `sessions_are_ended_by_...`, `a_foreign_id_answers_...` |
//! | a revoked key leaves its sessions; its links; a link for who gained power | library `a_revoked_key_takes_...`; `a_reset_link_is_void_...` |
//! | a vote, a claim stays with an anonymous session; an API key votes | library `a_vote_moves_...`, `claims_move_...`; `a_quorum_counts_...` |
//! | a user `me`; the administrator's name for anybody | library `reserved_names_...`, `words_of_paths_...` |
//! | a history that begins at the upgrade | library `the_history_before_an_upgrade_...` |
//! | files as the umask has them; an unused password is not said | `the_data_directory_...`; `an_administrators_password_...` |
//! | an API key for anybody; for `abide:*` | `a_service_acts_only_for_whom_...`; `powers_are_never_...` |
//! | forward-auth without a user | `forward_authentication_lets_in_users_only` |
//! | a change by cookie from anywhere; a login | `cross_site_changes_...`; `a_cross_site_login_...` |
//! | the first of two cookies counts | `doubled_credentials_are_refused` |
//! | a patch applied in part | `json_patch_is_all_or_nothing` |
//! | any Host; any encoding; a length beside it | `ambiguous_framing_...`, front `the_strictness_table` |
//! | a key twice; any depth | `json_that_parsers_disagree_about_...` |
//! | a body over its limit, by length; by chunk | `large_bodies_are_refused_...` |
//! | a head, a body without a time | front `a_slow_head_...`, `a_dripping_head_...`; `a_slow_body_...` |
//! | no cap of an address; in all; of a drain | front `one_address_...`; `over_the_cap_...`; `a_stop_lets_...` |
//! | anybody's `X-Forwarded-For` | `forwarded_headers_of_strangers_...` |
//! | rates that refuse nobody | `calls_that_hash_are_limited_by_address` |
//! | streams without a cap | `one_actor_has_a_bounded_number_of_streams` |
//! | pages by number only; events | `pages_of_large_transactions_are_bounded_...` |
//! | an owner's list is read for anybody; its cursor is an id | `owner_filter_on_somebody_unseen_...` |
//! | claims without a bound in bytes | `claims_are_looked_for_by_...` |
//! | waits without a cap | `waits_beyond_their_room_...` |
//! | unread answers and streams held whole | `answers_and_streams_that_nobody_reads_...` |
//! | a failed expression quotes what is hidden; a stuck one | `an_expression_that_fails_...`; `what_is_stuck_quotes_...` |
//! | a claim is shown for ever; a reference keeps a secret's hash | `a_claim_that_has_lapsed_...`; `a_reference_does_not_...` |
//! | a denial, a failed login is not in the log | `attempts_denials_and_administrative_acts_are_kept` |
//! | a body is what has a length; a read reads one | `a_body_without_a_length_is_read`, `whether_there_is_a_body_...`; `a_read_waits_...` |
//! | HEAD over HTTP/2 with content, without an end | `an_answer_to_head_has_no_content` |
//! | an early answer that does not say that it is the last | `an_early_refusal_keeps_...` |
//! | `Host` only; the server's own scheme only | `the_authority_is_the_host`; `the_origin_of_a_page_...` |
//! | commas in quotes, second lines, weights, case | `preferences_are_...`, `media_types_are_chosen_...`, `conditions_are_...`; `headers::tests` |
//! | pongs without a limit; errors of frames without a code | `floods_are_bounded_...`; `a_broken_frame_...` |
//! | misspelt parameters of a socket; only its first cookie | `unknown_parameters_are_...`; `cookies_on_two_lines_...` |
//! | a rotated session's socket reports that it ended | `a_new_token_ends_...` |
//! | another trace for a call | `a_call_goes_on_with_the_trace_...` |
//! | headers that pages may not send or read | `pages_may_send_and_read_...` |
//! | headers in the log | `no_secret_is_found_in_data_log_or_metrics` |
//! | large answers kept whole | `large_answers_are_kept_small_...`, `a_request_that_changes_nothing_...` |
//! | `current` is the same request in each session | `what_current_means_is_part_of_the_request` |
//! | keys stay with the anonymous session | `keys_of_an_anonymous_session_...` |
//! | conditions on what exists are not looked at | `every_change_counts_its_conditions`, `only_if_absent_...`, `a_condition_that_does_not_hold_...` |
//! | a tag is the revision alone | `a_lapsed_claim_changes_the_tag_...`, `a_tag_covers_what_its_reader_sees` |
//! | an ended transaction is a failure of a bulk operation | `many_transactions_are_repaired_at_once` |
//! | a hook reads variables only; `[secrets]` has other names | `a_hooks_secret_may_be_in_the_file_...` |
//! | a field of an event is renamed, and the catalogue is not | `events_are_of_the_types_...` |
//!
//! The same of calls to other services, webhooks and schedules; what has no file here is a test of
//! the library (`scripts`: `src/engine/scripts`, played by `cli::scenarios`):
//!
//! | broken | red |
//! |---|---|
//! | what is unknown counts as refused | `scripts`, `calls`, `left` and `travel` |
//! | sent before that is durable | `nothing_is_sent_before_it_is_durable_...` |
//! | only the name is looked at, not the address | `the_address_is_looked_at_when_it_is_known` |
//! | a redirect is followed | `a_redirect_is_an_answer_...` |
//! | another key for each attempt; another id of an event | `a_service_is_left_alone_...`, `sagas_survive_...`; `events_are_told_in_order_...` |
//! | `Retry-After` of a service; of a receiver | `a_service_is_left_alone_...`; `a_rest_is_any_...` |
//! | a wall clock set back stops the server's; signatures by the server's time | `clock_goes_on_while_...` |
//! | reads do not wait for timers that are due | `nothing_overdue_is_shown_as_live_...` |
//! | ids of events without a mark of their commit | `event_id_that_this_log_never_gave_out_...` |
//! | an undo under the key of the do | `undo_has_a_key_of_its_own_...` |
//! | a large answer is none | `success_with_a_large_body_is_success` |
//! | a refusal three times is a dead letter | `webhook_refusals_of_a_moment_lose_nothing` |
//! | a callback counts twice; after its time, while paused | `scripts`; `a_callback_after_its_time_...` |
//! | waits without jitter, without growth, without a cap | `a_wait_is_any_...`, `a_rest_is_any_...` |
//! | a breaker that never opens; never asks again, all ask at once | `a_breaker_opens_...`; `one_attempt_tries_...` |
//! | a header in the log; in what an attempt came to | `a_calls_secret_is_in_nothing_...` |
//! | what is beyond a destination's share is left in the store | `what_waits_for_one_destination_...` |
//! | an event whose attempt broke counts as delivered | `nothing_is_lost_or_out_of_order_...` |
//! | undoing is measured with what it undoes; with what is sent | `undoing_is_never_too_much` |
//! | a hook's message without a time is forgotten after a day; one with a time is never too old | `a_message_that_is_sent_again_after_...` |
//! | an attempt that panics keeps its place | `an_attempt_that_panics_...` |
//! | what rests keeps its place; all it has in memory; what is tried again has all places | `what_is_not_taken_keeps_...` |
//! | what lags is forgotten at a restart; all since is delivered again | `the_trouble_of_one_transaction_...` |
//! | a panic ends the worker of calls; the worker of a webhook | `calls_are_begun_anew_...`; `a_subscription_is_told_anew_...` |
//! | an event given up twice is two dead letters | `dead_letters_go_with_their_webhook` |
//! | `skip` of a schedule starts one; what was missed is made up for | `what_is_still_open_...`, `what_a_schedule_missed_...` |
//! | a step is left out without a reason | `what_is_stuck_is_found_...` |
//! | a move that forgets an open step; takes another kind | `a_transaction_moves_to_another_version` |
//! | a move with branches that a hold closed | `branches_that_a_hold_closed_...` |
//! | a hold's end loses its join; its branch that had ended or was joined; leads elsewhere, or twice | `scripts`, `expiry` |
//! | a stuck step loses its branch; is done twice; hides another | `scripts`, `stuck` |
//! | an answer that is kept with the secrets that it repeats, or shown to the owner | `operators_see_what_a_service_answered` |
//! | a refusal that names an account to everybody, or to nobody | `refusal_for_money_names_...` |
//! | a look at a record costs no step; what is missing is not fetched | `guard_that_looks_at_...`; `missing_records_are_...` |
//! | a slice has no end; nothing is overdue | `logout_that_leaves_...`; `command_waits_for_...` |
//! | an input is checked before it is measured; a text is parsed at each look | `start_that_is_too_large_...`; `json_text_of_...` |
//! | what an array shifts costs a patch nothing; nobody has a share; nobody takes turns | `patch_that_shifts_...`; `actor_that_has_...`; `commands_that_wait_...` |
//!
//! Held twice, so that one break alone is not seen: a session or link that is over (a check and a
//! timer), and the key space of an API key in the store by key (the row's key and its digest).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, and says where"
)]
#![allow(clippy::needless_pass_by_value, reason = "`json!` is written where it is passed")]

mod anonymous;
mod attacks;
mod authorization;
mod bodies;
mod bounds;
mod browser;
mod by_key;
mod chain;
mod client;
mod clock;
mod conditions;
mod crash;
mod dice;
mod discreet;
mod documents;
mod followers;
mod hooks;
mod http;
mod http2;
mod idempotency;
mod ledger;
mod linear;
mod links;
mod live;
mod negotiation;
mod nesting;
mod operations;
mod operators;
mod passwords;
mod queue;
mod raw;
mod reasons;
mod replay;
mod retention;
mod sagas;
mod schedules;
mod secrets;
mod server;
mod services;
mod session_data;
mod sessions;
mod socket;
mod socket_limits;
mod tail;
mod timeouts;
mod tls;
mod transactions;
mod users;
mod wait;
mod webhooks;
