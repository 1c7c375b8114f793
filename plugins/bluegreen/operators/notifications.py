"""Telling people, through Airflow connections of Apprise's kind."""

from __future__ import annotations

import logging

from bluegreen.app import App
from bluegreen.notify import Event, connections_for

log = logging.getLogger(__name__)


def notify(app: App, event: Event, message: str, link: str) -> None:
    """Send a message to every connection that the app's settings name for an event.

    One that cannot be sent is a warning in the task's log, whatever the reason: it never changes how a run
    ends. What a service answers is not shown, because addresses of services hold secrets.

    :param message: the one line that says it all.
    :param link: where to look further.
    """
    for connection in connections_for(app, event):
        try:
            sent = _send(connection, event, title=message.partition(":")[0], body=f"{message}\n{link}")
        except Exception as error:  # anything that a service, its library or a connection may do
            log.warning("%s was not notified: %s", connection, type(error).__name__)
            continue
        if not sent:
            log.warning("%s was not notified: no service took the message, see the lines above", connection)


def _send(connection: str, event: Event, title: str, body: str) -> bool:
    # Only tasks that have something to say pay for importing it.
    from airflow.providers.apprise.hooks.apprise import AppriseHook
    from apprise import Apprise, NotifyType

    hook, services = AppriseHook(connection), Apprise()
    hook.set_config_from_conn(hook.get_connection(connection), services)
    kind = NotifyType.FAILURE if event.is_bad else NotifyType.INFO
    # The hook's own method does not tell whether a service took the message.
    return bool(services.notify(title=title, body=body, notify_type=kind))
