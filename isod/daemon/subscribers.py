"""Who subscribed to events: the two methods, their quotas, and the end of a connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from isod.core.accounts import Resource
from isod.model.notice import Subscribed, Unsubscribed
from isod.model.peer import Peer
from isod.model.reason import Reason, RefusedError
from isod.model.request import Subscribe, SubscriptionName

from .identify import Identity
from .subscription import Subscription
from .world import World


@dataclass(frozen=True, slots=True)
class Opened:
    """A subscription, and what its subscriber is answered before the first event."""

    subscription: Subscription
    result: Subscribed


class Subscribers:
    """All subscriptions, by connection. An ended one counts until its last event was sent."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._names = count(1)

    def subscribe(self, who: Identity, params: Subscribe) -> Opened:
        """Begin a subscription, with what was missed. Raises RefusedError."""
        publisher, limits = self._world.publisher, self._world.policy.limits
        who.account.charge(Resource.subscriptions)
        subscription = Subscription(
            f"S{next(self._names)}", who, params.kinds, limits.unread_events
        )
        latest = publisher.ring.latest
        missed = () if params.since is None else publisher.ring.since(params.since)
        subscription.begin(missed, latest)
        publisher.subscriptions.append(subscription)
        return Opened(subscription, Subscribed(subscription=subscription.name, seq=latest))

    def unsubscribe(self, who: Identity, params: SubscriptionName) -> Unsubscribed:
        """End a subscription of this connection. Raises RefusedError for another."""
        for subscription in self._world.publisher.subscriptions:
            if subscription.name == params.subscription and subscription.who is who:
                self.drop(subscription)
                return Unsubscribed(subscription=subscription.name)
        raise RefusedError(
            Reason.not_found,
            f"this connection has no subscription {params.subscription}",
            hint="it may have ended with a gap",
        )

    def drop(self, subscription: Subscription) -> None:
        """The subscription is over. Harmless for one that was dropped before."""
        subscription.end()
        subscriptions = self._world.publisher.subscriptions
        if subscription in subscriptions:
            subscriptions.remove(subscription)
            subscription.who.account.discharge(Resource.subscriptions)

    def dismiss(self, is_welcome: Callable[[Peer], bool]) -> None:
        """End what those have subscribed to who are not welcome any more."""
        publisher = self._world.publisher
        for subscription in publisher.subscriptions:
            if not is_welcome(subscription.who.peer):
                subscription.dismiss(publisher.ring.latest, "you are no administrator any more")

    def leave(self, who: Identity) -> None:
        """A connection is gone, with its subscriptions."""
        for subscription in list(self._world.publisher.subscriptions):
            if subscription.who is who:
                self.drop(subscription)
