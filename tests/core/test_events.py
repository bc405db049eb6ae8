"""The event bus: by type, in order, and nobody keeps the others from hearing."""

from dataclasses import dataclass

import pytest

from slmdesk.core.events import EventBus


@dataclass(frozen=True)
class Changed:
    what: str


@dataclass(frozen=True)
class Renamed(Changed):
    to: str


def test_subscribers_hear_their_type_and_its_subclasses() -> None:
    bus = EventBus()
    heard: list[tuple[str, object]] = []
    bus.subscribe(Changed, lambda event: heard.append(("changed", event)))
    bus.subscribe(Renamed, lambda event: heard.append(("renamed", event.to)))
    bus.publish(Changed("a"))
    bus.publish(Renamed("a", "b"))
    bus.publish("something else")
    assert heard == [("changed", Changed("a")), ("renamed", "b"), ("changed", Renamed("a", "b"))]


def test_unsubscribing_ends_one_subscription() -> None:
    bus = EventBus()
    heard: list[object] = []
    first = bus.subscribe(Changed, heard.append)
    bus.subscribe(Changed, heard.append)
    first()
    first()
    bus.publish(Changed("a"))
    assert len(heard) == 1


def test_one_that_fails_is_logged_and_the_next_still_hears(caplog: pytest.LogCaptureFixture) -> None:
    bus = EventBus()
    heard: list[object] = []

    def fail(_: Changed) -> None:
        raise RuntimeError("out of order")

    bus.subscribe(Changed, fail)
    bus.subscribe(Changed, heard.append)
    bus.publish(Changed("a"))
    assert heard == [Changed("a")]
    assert "out of order" in caplog.text


def test_one_may_unsubscribe_while_it_hears() -> None:
    bus = EventBus()
    heard: list[object] = []

    def once(event: Changed) -> None:
        heard.append(event)
        unsubscribe()

    unsubscribe = bus.subscribe(Changed, once)
    bus.publish(Changed("a"))
    bus.publish(Changed("b"))
    assert heard == [Changed("a")]
