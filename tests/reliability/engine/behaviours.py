"""The behaviours that the engine's public documentation promises for steps, events, collection, retries, waits, state
and time, the samples that show them, and those that a durable run cannot have.

``where`` is a page of https://developers.llamaindex.ai/python/llamaagents/workflows/ or a docstring of the package.
"""

from __future__ import annotations

from typing import NamedTuple


class Behaviour(NamedTuple):
    """Something that the engine documents, and the samples or tests of this attack that show it."""

    what: str
    where: str
    shown_by: tuple[str, ...]


class Difference(NamedTuple):
    """Something that a durable run does not have, or has in another way; ``told`` is a text of the project's
    documentation that says so, ``test`` what shows it, where it can be shown."""

    what: str
    where: str
    told: str
    test: str | None = None


def _of(where: str, *listed: tuple[str, str]) -> list[Behaviour]:
    return [Behaviour(what, where, tuple(samples.split())) for what, samples in listed]


BEHAVIOURS: list[Behaviour] = [
    *_of(
        "page: introduction; docstrings: step, Workflow",
        ("steps are coroutines or plain functions, which run in a thread", "blocking threaded"),
        (
            "the fields of the start event come from the caller, typed or not",
            "fields free_functions test_a_start_event_that_does_not_validate_starts_nothing",
        ),
        ("a StopEvent that is returned ends the run at once, whatever else is under way", "first_stop"),
        ("a step that returns what is no event fails the run", "wrong_return"),
        ("an event goes to every step that accepts it, alone or in a union", "shared"),
        ("exact types are routed, unless a step accepts subclasses", "subclassed base_class"),
        ("num_workers limits a step, and is 4 by default", "few_workers one_at_a_time"),
        ("steps are inherited and overridden", "inherited"),
        ("validation of the graph refuses a workflow", "test_a_graph_that_the_engine_refuses_is_refused"),
        ("validation can be switched off, wholly or check by check", "unchecked skipped_checks"),
        ("verbose tells each step", "test_a_verbose_workflow_tells_the_same"),
        ("num_concurrent_runs limits the runs of an instance", "test_runs_wait_for_their_turn_in_order"),
        ("a workflow may be run inside a step of another", "nested"),
    ),
    *_of(
        "page: customizing entry and exit points",
        ("own start and stop events keep their types and fields", "own_start_and_stop typed_state"),
    ),
    *_of(
        "page: branches and loops",
        ("a step chooses by what it returns", "branch_left branch_right fan_out_or_not"),
        ("a step goes back to another or to itself", "looping again"),
    ),
    *_of("page: workflows from unbound functions", ("functions are added as steps", "free_functions")),
    *_of("page: working with blocking code", ("blocking calls are given to a thread", "threaded blocking")),
    *_of(
        "page: managing events; docstrings: Event, Context.send_event",
        ("events have typed and dynamic fields, as attributes and as a mapping", "fields"),
        ("send_event reaches all steps, in order, beside what is returned", "send_all send_slowly send_and_return"),
        ("send_event reaches one step, and refuses one that does not accept it", "send_to_one send_to_nobody"),
        ("an event that nobody takes is told as an UnhandledEvent", "unhandled answered_in_time"),
        (
            "an event is taken when the step of the one before has come to its first wait or its end",
            "sent_to_a_wait sent_to_a_wait_and_a_step sent_to_a_hidden_wait sent_behind_a_queue "
            "sent_to_one_wait_after_another sent_as_required sent_behind_an_end sent_behind_a_failure "
            "listed_behind_an_end",
        ),
        ("write_event_to_stream publishes in order; None is nothing", "streamed in_step"),
        ("internal events tell of each step and of an idle workflow", "unnamed_waits streamed"),
        ("get_step_context gives the context to what has no parameter for it", "in_step"),
        ("methods of the handler's side raise inside a step", "in_step"),
    ),
    *_of(
        "page: concurrent execution; docstrings: collect, Context.collect_events",
        ("a returned list fans out, a list parameter collects all of it", "fan_out mixed_types"),
        (
            "an empty list is collected as one; None or a bare event opens no stream",
            "fan_out_of_nothing fan_out_or_not",
        ),
        ("a bare event that is declared in the list only is an error", "fan_out_bare"),
        ("Take(n) releases on the n-th, or at the end with what came", "take take_what_came"),
        ("items that end in None are not waited for", "dropped_items"),
        ("streams nest, and several steps collect one stream", "two_levels two_joins"),
        (
            "send_event cannot add to a collection: ignored, or an error if it names the step",
            "outsider targeted_collection",
        ),
        ("several event parameters wait for one of each", "two_slots bound_wait"),
        ("collect_events returns in the order asked for, in buffers by id", "collected_by_hand shared"),
        ("collect_events is safe beside other workers of the step", "contended_collection send_all"),
        ("retries, recovery and waits work within a fan-out", "troubled_items asking unnamed_waits"),
    ),
    *_of(
        "page: retry steps execution; docstrings: retry_policy, Context.retry_info",
        ("a failing step without a policy fails the run", "failing"),
        ("the step knows its retry, the last failure and the time since the first", "retried"),
        ("waits: fixed and none", "wait_fixed retry_if_type"),
        ("waits: exponential and incrementing, within limits", "wait_exponential wait_incrementing"),
        ("waits: chained, and summed", "wait_chain wait_combine wait_sum"),
        ("waits: jitter, from a seed", "wait_jitter wait_full_jitter wait_random_exponential"),
        ("conditions: by type", "retry_if_type retry_if_not_type retry_unless_type"),
        ("conditions: by message", "retry_if_message retry_if_not_message"),
        ("conditions: by cause, and by a function", "retry_if_cause retry_if"),
        ("conditions: any, all, always, never", "retry_any_all"),
        ("stops: after attempts", "stop_after_attempt"),
        ("stops: after and before a delay", "stop_after_delay stop_after_long stop_before_delay"),
        ("stops: any, all, never", "stop_any_all"),
        ("own policies, also without the seed; one that raises fails the step", "own_policy broken_policy"),
        ("the two deprecated policies", "constant_delay exponential_backoff"),
        ("a delayed retry takes no worker from the others", "retry_aside"),
        ("a retry sends again what the failed attempt sent", "resent_by_retry"),
    ),
    *_of(
        "docstrings: catch_error, StepFailedEvent",
        ("a handler is given the failure and recovers the run", "caught"),
        ("a handler for some steps, and one for all others", "caught_by_two"),
        ("max_recoveries counts along the lineage, through sends, too", "caught_too_often"),
        ("a handler that raises fails the run", "handler_fails"),
    ),
    *_of(
        "page: human in the loop; docstrings: InputRequiredEvent, HumanResponseEvent, Context.wait_for_event",
        ("a returned InputRequiredEvent is published, and answered to another step", "returned general_question"),
        ("wait_for_event runs the step again from its start, and asks once", "waiting"),
        ("waiter ids keep waits apart; without one each work item has its own", "asking dialogue unnamed_waits"),
        ("requirements must be met by the answer", "choosy asking overdue_then_answered"),
        ("a timeout raises in the step; None is for ever", "overdue overdue_then_answered answered_in_time dialogue"),
        ("a wait keeps the collected list or the bound events of its step", "collected_wait bound_wait"),
        (
            "a wait takes an event that its step also accepts, or that another step returns",
            "waits_for_own_input answered_from_inside",
        ),
        ("a saved context goes on elsewhere", "test_a_context_that_was_saved_goes_on"),
    ),
    *_of(
        "page: managing state; docstrings: StateStore, StateStoreFacade",
        ("get and set by dotted paths, with defaults; what is missing raises", "paths"),
        ("get_state, set_state and clear", "whole_state"),
        ("edit_state is atomic, seen at its end only, and refuses other writers inside", "transaction"),
        ("concurrent steps edit one after the other", "overlapping fan_out"),
        (
            "a typed state is validated, refuses unknown names and keeps its own serializers",
            "typed_state own_serializers refused_value",
        ),
        ("a base and a derived state share the derived one; setting the base keeps the rest", "derived_state"),
        ("models and events in the state are read back as such", "values_of_state"),
        ("the next run in a context has the state of the one before", "continued"),
        ("what an interrupted step wrote is not there when it begins again", "interrupted_writes again retried"),
    ),
    *_of(
        "page: resource objects; docstrings: Resource, ResourceConfig",
        ("functions, coroutines, files and other resources make resources", "resources"),
        ("a resource is made once, or for each step", "kept_resources"),
    ),
    *_of(
        "page: streaming events; docstrings: Workflow, WorkflowTimedOutEvent, WorkflowCancelledEvent",
        (
            "the timeout of the workflow ends it, in a step, a wait or a retry",
            "timed_out timed_out_in_wait timed_out_in_retry",
        ),
        ("timeout=None is for ever", "unlimited"),
        ("a cancelled run ends with its event, and its steps are cancelled", "cancelled_in_step cancelled_in_wait"),
        ("a failure is told as an event of its own", "failing wrong_return targeted_collection"),
    ),
    *_of(
        "docstrings: Event, DictLikeModel, RetryInfo, BasicRuntime.state_checkpoint; page: managing state",
        (
            "undeclared fields, private attributes, untyped values, changes in place and exceptions are what they were",
            "test_what_the_engines_json_loses_is_kept",
        ),
    ),
]

DIFFERENCES: list[Difference] = [
    Difference(
        "an event from outside that comes before the first wait for its type is taken by nobody",
        "page: managing events",
        "The engine's basic runtime drops such an event",
    ),
    Difference(
        "a task that outlives its step sends to the run",
        "docstring: StepSends",
        "A task that a step leaves running",
        "sent_late",
    ),
    Difference(
        "objects that are shared by reference through the workflow instance or a resource",
        "page: writing durable workflows",
        "Do not keep data for later steps in variables of the workflow",
    ),
    Difference(
        "the handler in Python: is_done, stream_events, ctx.store and ctx.to_dict from outside",
        "docstrings: WorkflowHandler, ExternalContext",
        "no `WorkflowHandler` in Python",
    ),
    Difference(
        "BasicRuntime.journal, restore and state_checkpoint",
        "docstring: BasicRuntime",
        "no `WorkflowHandler` in Python",
    ),
    Difference(
        "a serializer of the workflow's own", "docstring: Workflow", "workflow's own serializer is not consulted"
    ),
    Difference(
        "child brokers for child workflows", "docstring: BrokerState", "The engine (2.26) makes no child brokers"
    ),
]
