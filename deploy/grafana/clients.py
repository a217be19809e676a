"""*Clients*: who listens, who comes and goes, and who was refused what."""

from deploy.grafana.panels import Dashboard, Panel, Query, Row
from deploy.grafana.promql import rate


def _figure(title: str, description: str, expr: str, unit: str = "short") -> Panel:
    return Panel(
        title=title, description=description, kind="stat", unit=unit, width=6, height=4, queries=[Query(expr=expr)]
    )


_NOW = Row(
    title="Now",
    panels=[
        _figure("Held polls", "Polls that wait, of all replicas.", "sum(roots_longpoll_polls_held)"),
        _figure("Connections", "Open connections of all replicas.", "sum(roots_longpoll_connections)"),
        _figure("Clients with grants", "Clients with a record that lives.", "max(roots_subscriptions_clients)"),
        _figure(
            "Held paths", "Paths that polls wait on, on the replica with the most.", "max(roots_longpoll_held_paths)"
        ),
    ],
)

_HELD = Row(
    title="Held polls and connections",
    panels=[
        Panel(
            title="Held polls by replica",
            description="The gateway gives each poll to the replica with the fewest.",
            unit="short",
            width=8,
            is_stacked=True,
            queries=[Query(expr="sum by (instance) (roots_longpoll_polls_held)", legend="{{instance}}")],
        ),
        Panel(
            title="Connections by replica",
            description="Far more than held polls are connections that ask nothing.",
            unit="short",
            width=8,
            is_stacked=True,
            queries=[Query(expr="sum by (instance) (roots_longpoll_connections)", legend="{{instance}}")],
        ),
        Panel(
            title="Fullest replica",
            description="The part of the polls and connections it may have that the fullest replica has. At 80 % more "
            "replicas are due; a full one refuses.",
            unit="percentunit",
            width=8,
            queries=[
                Query(expr="max(roots_longpoll_polls_held / roots_longpoll_polls_held_limit)", legend="held polls"),
                Query(expr="max(roots_longpoll_connections / roots_longpoll_connections_limit)", legend="connections"),
            ],
            thresholds=[("green", None), ("red", 0.8)],
            has_limits=True,
        ),
        Panel(
            title="Clients begun",
            description="Uids minted each second: pages opened, and clients that had to start again.",
            unit="ops",
            width=8,
            queries=[Query(expr=rate("roots_longpoll_uids_minted_total"), legend="begun")],
        ),
        Panel(
            title="Answers to polls",
            description="Polls answered each second, by status.",
            unit="reqps",
            width=8,
            is_stacked=True,
            queries=[Query(expr=rate("roots_longpoll_http_requests_total", "status"), legend="{{status}}")],
        ),
        Panel(
            title="Events and deliveries",
            description="Events that came, and what was written of them to clients: their ratio is the fan-out.",
            unit="ops",
            width=8,
            is_logarithmic=True,
            queries=[
                Query(expr="max(rate(roots_longpoll_events_total[$__rate_interval]))", legend="events"),
                Query(expr=rate("roots_longpoll_deliveries_total"), legend="deliveries"),
            ],
        ),
    ],
)

_GRANTS = Row(
    title="Paths granted and withdrawn",
    panels=[
        Panel(
            title="Connects",
            description="Paths asked for each second: granted, confirmed (held already), or refused by the policy.",
            unit="ops",
            is_stacked=True,
            queries=[Query(expr=rate("roots_subscriptions_connect_paths_total", "result"), legend="{{result}}")],
        ),
        Panel(
            title="Disconnects and revocations",
            description="Paths given up by their clients, revoked by a back end or a changed policy, and ended with "
            "a token.",
            unit="ops",
            is_stacked=True,
            queries=[
                Query(
                    expr=rate("roots_subscriptions_disconnect_paths_total", selector='{result="withdrawn"}'),
                    legend="disconnected",
                ),
                Query(expr=rate("roots_subscriptions_revoked_paths_total"), legend="revoked"),
                Query(expr=rate("roots_subscriptions_ended_paths_total"), legend="ended with the token"),
            ],
        ),
    ],
)

_REFUSALS = Row(
    title="Refusals and gaps",
    panels=[
        Panel(
            title="Refused by longpoll",
            description="full and connections: the replica's limits. stale: its view of NATS is old. unanswered: "
            "NATS did not answer. slow: a client that did not read was cut off.",
            unit="ops",
            width=8,
            queries=[
                Query(expr=rate("roots_longpoll_refusals_total", "reason"), legend="{{reason}}"),
                Query(expr=rate("roots_longpoll_connections_refused_total"), legend="connections"),
                Query(expr=rate("roots_longpoll_slow_clients_total"), legend="slow"),
            ],
            thresholds=[("green", None), ("red", 0.1)],
        ),
        Panel(
            title="Refused by the policy, or for the token",
            description="Paths that the policy does not allow, and tokens by why they were refused, at subscriptions"
            " and tasks.",
            unit="ops",
            width=8,
            queries=[
                Query(
                    expr=rate("roots_subscriptions_connect_paths_total", selector='{result="refused"}'),
                    legend="paths, by the policy",
                ),
                Query(
                    expr=rate("roots_subscriptions_tokens_total", "result", selector='{result!="good"}'),
                    legend="subscriptions: {{result}}",
                ),
                Query(
                    expr=rate("roots_tasks_tokens_total", "result", selector='{result!="good"}'),
                    legend="tasks: {{result}}",
                ),
            ],
        ),
        Panel(
            title="Gaps reported to clients",
            description="Events that the log no longer had: expired (away for too long), epoch (another log), "
            "overflow.",
            unit="ops",
            width=8,
            is_stacked=True,
            queries=[Query(expr=rate("roots_longpoll_gaps_total", "reason"), legend="{{reason}}")],
            thresholds=[("green", None), ("red", 0.02)],
        ),
    ],
)

_BACKEND_API = Row(
    title="The back-end API: back ends",
    panels=[
        Panel(
            title="Back-end API calls",
            description="Requests of back ends by outcome. unauthorized has no key that is known, limited came too "
            "fast.",
            unit="ops",
            is_stacked=True,
            queries=[Query(expr=rate("roots_subscriptions_backend_api_calls_total", "outcome"), legend="{{outcome}}")],
        ),
        Panel(
            title="Messages of back ends",
            description="By what became of them: repeated was stored before, unknown got no acknowledgement.",
            unit="ops",
            is_stacked=True,
            queries=[
                Query(
                    expr=rate("roots_subscriptions_backend_api_messages_total", "backend", "outcome"),
                    legend="{{backend}}: {{outcome}}",
                )
            ],
        ),
    ],
)

CLIENTS = Dashboard(
    uid="roots-clients",
    title="Roots: Clients",
    description="Who listens, who comes and goes, and who was refused what.",
    rows=[_NOW, _HELD, _GRANTS, _REFUSALS, _BACKEND_API],
)
