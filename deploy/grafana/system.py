"""*System*: every service by requests, errors and duration, and what they stand on."""

from deploy.grafana.panels import Dashboard, Panel, Query, Row
from deploy.grafana.promql import quantile, rate

_FAULTS = (("green", None), ("red", 0.05))
_HTTP = (("tasks", "tasks"), ("subscriptions", "subscriptions"), ("backend-api", "subscriptions_backend_api"))


_REQUESTS = Row(
    title="Requests, errors, duration",
    panels=[
        Panel(
            title="Requests",
            description="Answered each second. backend-api is the back-end API of subscriptions.",
            unit="reqps",
            width=8,
            is_logarithmic=True,
            queries=[
                Query(expr=rate(f"roots_{name}_http_requests_total"), legend=job)
                for job, name in (*_HTTP, ("longpoll", "longpoll"))
            ],
        ),
        Panel(
            title="Errors",
            description="The part of answers that are 5xx, over five minutes. What the client did wrong is no error.",
            unit="percentunit",
            width=8,
            queries=[Query(expr="roots:http_errors:ratio_rate5m", legend="{{job}}")],
            thresholds=_FAULTS,
            has_limits=True,
        ),
        Panel(
            title="Duration, p99",
            description="From a request's arrival in the application to its answer. Polls are not in it: see Poll "
            "latency.",
            unit="s",
            width=8,
            queries=[
                Query(expr=quantile(0.99, f"roots_{name}_http_request_seconds"), legend=job) for job, name in _HTTP
            ],
        ),
        Panel(
            title="Gateway: answers by status",
            description="5xx are services that fail, or that the gateway does not reach. Polls count when they end.",
            unit="reqps",
            width=8,
            is_stacked=True,
            queries=[
                Query(
                    expr=rate("haproxy_frontend_http_responses_total", "code", selector='{proxy="gateway"}'),
                    legend="{{code}}",
                )
            ],
        ),
        Panel(
            title="Requests under way and waiting",
            description="The gateway's count has all held polls in it. Requests that wait for a thread of tasks or "
            "subscriptions are 0 in good times.",
            unit="short",
            width=8,
            queries=[
                Query(expr='sum(haproxy_backend_current_sessions{proxy!~"connections|requests"})', legend="gateway"),
                Query(expr="sum(roots_tasks_http_queue_requests)", legend="wait for tasks"),
                Query(expr="sum(roots_subscriptions_http_queue_requests)", legend="wait for subscriptions"),
            ],
        ),
        Panel(
            title="Tasks changed",
            description="Writes that succeeded. unchanged and repeated yield no event.",
            unit="ops",
            width=8,
            is_stacked=True,
            queries=[Query(expr=rate("roots_tasks_changes_total", "change"), legend="{{change}}")],
        ),
    ],
)

_LED = "and on (instance) roots_tasks_relay_is_leader == 1"
_OUTBOX = Row(
    title="Outbox and relay",
    panels=[
        Panel(
            title="Events in the outbox",
            description="Committed, and not yet acknowledged by NATS. A backlog is worked off at thousands a second.",
            unit="short",
            width=6,
            queries=[Query(expr=f"sum(roots_tasks_outbox_pending {_LED})", legend="pending")],
        ),
        Panel(
            title="Age of the oldest",
            description="For how long somebody has been waiting for a change that is committed.",
            unit="s",
            width=6,
            queries=[Query(expr=f"max(roots_tasks_outbox_oldest_seconds {_LED})", legend="oldest")],
            thresholds=[("green", None), ("red", 10)],
            has_limits=True,
        ),
        Panel(
            title="Publish to NATS",
            description="From the publish of a batch to its last acknowledgement, which waits for the disk.",
            unit="s",
            width=6,
            queries=[
                Query(expr=quantile(0.5, "roots_tasks_relay_publish_seconds"), legend="p50"),
                Query(expr=quantile(0.99, "roots_tasks_relay_publish_seconds"), legend="p99"),
            ],
        ),
        Panel(
            title="Publishes by result",
            description="repeated is an event that was stored before. unavailable was not stored, and unknown has no "
            "answer: both are published again. refused holds its task back.",
            unit="ops",
            width=6,
            is_stacked=True,
            queries=[Query(expr=rate("roots_tasks_relay_published_total", "result"), legend="{{result}}")],
        ),
    ],
)

_NATS = Row(
    title="NATS, as the services see it",
    panels=[
        Panel(
            title="Connected",
            description="The part of each service's processes that has a connection.",
            unit="percentunit",
            width=6,
            queries=[Query(expr='avg by (job) (roots_process_ready{check="broker"})', legend="{{job}}")],
            thresholds=[("red", None), ("green", 1)],
        ),
        Panel(
            title="Requests of subscriptions, p99",
            description="From a request to NATS to its answer, by what was asked.",
            unit="s",
            width=6,
            queries=[
                Query(expr=quantile(0.99, "roots_subscriptions_broker_seconds", "operation"), legend="{{operation}}")
            ],
        ),
        Panel(
            title="Age of the view",
            description="Since each replica of longpoll knew that it had seen everything; up to 5 s in good times. "
            "From 30 s on it refuses polls.",
            unit="s",
            width=6,
            queries=[Query(expr="max by (stream) (roots_longpoll_view_age_seconds)", legend="{{stream}}")],
            thresholds=[("green", None), ("orange", 15), ("red", 30)],
            has_limits=True,
        ),
        Panel(
            title="What the live way lost",
            description="Messages that were read from the stream, since they did not come live, and connections of "
            "the live way that were made again. Clients notice nothing but the delay.",
            unit="ops",
            width=6,
            queries=[
                Query(expr=rate("roots_longpoll_repaired_messages_total", "stream"), legend="repaired: {{stream}}"),
                Query(expr=rate("roots_longpoll_nats_connects_total"), legend="connections"),
            ],
        ),
        Panel(
            title="Streams of NATS",
            description="What is stored, and how much may be: then the oldest events go, and clients away longer "
            "get a gap.",
            unit="bytes",
            width=12,
            is_logarithmic=True,
            queries=[
                Query(expr="max by (stream) (roots_subscriptions_stream_bytes)", legend="{{stream}}"),
                Query(
                    expr="max by (stream) (roots_subscriptions_stream_limit_bytes) > 0", legend="{{stream}}, at most"
                ),
            ],
        ),
        Panel(
            title="Messages of the streams",
            description="Events in the log, and the grants' records with the traces of deleted ones.",
            unit="short",
            width=12,
            queries=[Query(expr="max by (stream) (roots_subscriptions_stream_messages)", legend="{{stream}}")],
        ),
    ],
)

_STORES = Row(
    title="Postgres, ring and grants",
    panels=[
        Panel(
            title="Postgres pool",
            description="Connections of tasks, and requests that wait for one: 0 in good times.",
            unit="short",
            width=6,
            is_stacked=True,
            queries=[Query(expr="sum by (state) (roots_tasks_database_connections)", legend="{{state}}")],
        ),
        Panel(
            title="Ring",
            description="The part of its room that the fullest replica's ring of recent events takes. A full one is "
            "no fault: the oldest event goes.",
            unit="percentunit",
            width=6,
            queries=[
                Query(expr="max(roots_longpoll_ring_bytes / roots_longpoll_ring_limit_bytes)", legend="fullest ring")
            ],
        ),
        Panel(
            title="Reach of the ring",
            description="Age of its oldest event. A client that was away for longer is served from NATS's log.",
            unit="s",
            width=6,
            queries=[Query(expr="min(roots_longpoll_ring_reach_seconds)", legend="shortest reach")],
        ),
        Panel(
            title="Backlogs read from the log",
            description="For clients whose position the ring has left. shared are those that one reading served.",
            unit="ops",
            width=6,
            queries=[Query(expr=rate("roots_longpoll_replays_total", "result"), legend="{{result}}")],
        ),
        Panel(
            title="Clients with grants",
            description="Records that live, as subscriptions has them, and those that longpoll has in memory.",
            unit="short",
            width=8,
            queries=[
                Query(expr="max(roots_subscriptions_clients)", legend="with a record"),
                Query(expr="sum(roots_longpoll_clients_cached)", legend="cached, all replicas"),
            ],
        ),
        Panel(
            title="Grants kept alive",
            description="Clients that longpoll reported as polling. unknown have no record any more; failed are "
            "reported again.",
            unit="ops",
            width=8,
            queries=[Query(expr=rate("roots_subscriptions_grant_renewals_total", "result"), legend="{{result}}")],
        ),
        Panel(
            title="Overtaken writes of grants",
            description="Writes that another one had overtaken; they are tried again.",
            unit="ops",
            width=8,
            queries=[Query(expr=rate("roots_subscriptions_grant_conflicts_total"), legend="conflicts")],
        ),
    ],
)

_OURS = '{job=~"tasks|relay|subscriptions|longpoll|gateway"}'
_PROCESSES = Row(
    title="Processes",
    panels=[
        Panel(
            title="Up",
            description="Processes of each service that answer Prometheus.",
            unit="short",
            width=6,
            queries=[Query(expr=f"sum by (job) (up{_OURS})", legend="{{job}}")],
        ),
        Panel(
            title="Not ready",
            description="Checks of readiness that do not hold, and processes that are stopping.",
            unit="short",
            width=6,
            queries=[
                Query(expr="sum by (job) (1 - roots_process_ready)", legend="{{job}}"),
                Query(expr="sum(roots_process_draining)", legend="stopping"),
            ],
            thresholds=[("green", None), ("red", 1)],
        ),
        Panel(
            title="Failed drains",
            description="Stops in the last hour that cut somebody off.",
            unit="short",
            width=6,
            queries=[Query(expr="sum by (job) (increase(roots_process_drain_failures_total[1h]))", legend="{{job}}")],
            thresholds=[("green", None), ("red", 1)],
        ),
        Panel(
            title="CPU of a process",
            description="Of one core. A replica of longpoll has one thread that delivers, so 1 is its end. The gateway"
            " shows how much of its threads is busy.",
            unit="percentunit",
            width=6,
            queries=[
                Query(
                    expr=f"max by (job) (rate(process_cpu_seconds_total{_OURS}[$__rate_interval]))",
                    legend="{{job}}",
                ),
                Query(expr="max(1 - haproxy_process_idle_time_percent / 100)", legend="gateway"),
            ],
            thresholds=[("green", None), ("orange", 0.8)],
            has_limits=True,
        ),
        Panel(
            title="Memory of a process",
            description="Resident; the largest of each service. The gateway reports only its pools.",
            unit="bytes",
            width=12,
            queries=[
                Query(expr=f"max by (job) (process_resident_memory_bytes{_OURS})", legend="{{job}}"),
                Query(expr="max(haproxy_process_pool_allocated_bytes)", legend="gateway"),
            ],
        ),
        Panel(
            title="Open files",
            description="The part of the file descriptors that a process may have; each held poll takes one. Of the"
            " gateway, the part of the connections.",
            unit="percentunit",
            width=12,
            queries=[
                Query(expr=f"max by (job) (process_open_fds{_OURS} / process_max_fds{_OURS})", legend="{{job}}"),
                Query(
                    expr="max(haproxy_process_current_connections / haproxy_process_max_connections)", legend="gateway"
                ),
            ],
            thresholds=[("green", None), ("red", 0.8)],
            has_limits=True,
        ),
    ],
)

SYSTEM = Dashboard(
    uid="roots-system",
    title="Roots: System",
    description="Every service by requests, errors and duration, and what they stand on.",
    rows=[_REQUESTS, _OUTBOX, _NATS, _STORES, _PROCESSES],
)
