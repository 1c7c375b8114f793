"""Telling people, through Airflow connections of Apprise's kind."""

from __future__ import annotations

import logging
from threading import Thread
from time import monotonic

from bluegreen.run.events import Event, connections_for
from bluegreen.settings.app import App

log = logging.getLogger(__name__)

# A library's own limits are for each of the requests that a service needs, and some have none.
LONGEST_SECONDS = 15.0


def notify(app: App, event: Event, message: str, link: str) -> None:
    """Send a message to every connection that the app's settings name for an event, to all at once.

    One that cannot be sent is a warning in the task's log, whatever the reason: it never changes how a run
    ends, nor does a service that does not answer hold the task up for longer than :data:`LONGEST_SECONDS`.
    What a service answers is not shown, because addresses of services hold secrets.

    :param message: the one line that says it all.
    :param link: where to look further.
    """
    title, body = message.partition(":")[0], f"{message}\n{link}"
    sendings = [_Sending(connection, event, title, body) for connection in connections_for(app, event)]
    deadline = monotonic() + LONGEST_SECONDS
    for sending in sendings:
        sending.start()
    for sending in sendings:
        sending.join(max(deadline - monotonic(), 0))
        if sending.trouble:
            log.warning("%s was not notified: %s", sending.connection, sending.trouble)


class _Sending(Thread):
    """One message on its way to one connection.

    :ivar trouble: why it was not sent, so far.
    """

    def __init__(self, connection: str, event: Event, title: str, body: str) -> None:
        # One that hangs does not keep the task's process from ending.
        super().__init__(daemon=True)
        self.connection = connection
        self._message = (event, title, body)
        self.trouble = f"no answer within {LONGEST_SECONDS:g} s"

    def run(self) -> None:
        """Send it."""
        try:
            sent = _send(self.connection, *self._message)
        except Exception as error:  # anything that a service, its library or a connection may do
            self.trouble = type(error).__name__
        else:
            self.trouble = "" if sent else "no service took the message, see the lines above"


def _send(connection: str, event: Event, title: str, body: str) -> bool:
    # Only tasks that have something to say pay for importing it.
    from airflow.providers.apprise.hooks.apprise import AppriseHook
    from apprise import Apprise, NotifyType

    hook, services = AppriseHook(connection), Apprise()
    hook.set_config_from_conn(hook.get_connection(connection), services)
    kind = NotifyType.FAILURE if event.is_bad else NotifyType.INFO
    # The hook's own method does not return whether a service took the message.
    return bool(services.notify(title=title, body=body, notify_type=kind))
